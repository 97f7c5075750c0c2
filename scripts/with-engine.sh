#!/usr/bin/env bash
# Runs a command beside a container engine of its own, in a network namespace of its own, which ends with it. The engine's socket
# is in EDGE_TEST_DOCKER_SOCKET. Exits with 77 where no engine can be had.
#
#   scripts/with-engine.sh COMMAND [ARGUMENT...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1:-} == --inside ]]; then
    shift
    dir=$(mktemp -d /tmp/edge-engine-XXXXXX)
    trap 'scripts/docker-engine.sh down "$dir/engine"; rm -rf "$dir"' EXIT
    ip link set lo up
    scripts/docker-engine.sh up "$dir/engine"
    export EDGE_TEST_DOCKER_SOCKET=$dir/engine/docker.sock
    status=0
    "$@" || status=$?
    exit "$status"
fi

scripts/install-deps.sh docker.io busybox-static iptables
if ((EUID != 0)) || ! unshare -n true 2>/dev/null; then
    echo "with-engine: SKIPPED, because an engine needs root and a network namespace" >&2
    exit 77
fi
exec unshare -n -m --propagation private "$0" --inside "$@"
