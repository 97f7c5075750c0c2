#!/usr/bin/env bash
# The long tests, with everything they need: SECONDS_SOAK=600 seconds of real links, JSON=1 for machines.
# Arguments go to scripts/soak.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Besides what `make test` has: the second proxy of each kind.
scripts/install-deps.sh squid dante-server >&2
for product in edge-agent control-hub; do
    swift build --explicit-target-dependency-import-check error --product "$product" >&2
done
arguments=(--seconds "${SECONDS_SOAK:-600}")
[[ -z ${JSON:-} ]] || arguments+=(--json)
exec python3 scripts/soak "${arguments[@]}" "$@"
