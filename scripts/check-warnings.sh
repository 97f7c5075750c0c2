#!/usr/bin/env bash
# Fails if the compiler warns about our own code. SwiftPM silences warnings of dependencies, so every warning is ours.
# Arguments go to `swift build`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The compiler repeats no warning for a file it does not compile again, so our files are made to look changed.
find Sources Tests -name '*.swift' -exec touch {} +
log=$(mktemp)
trap 'rm -f "$log"' EXIT
scripts/build.sh "$@" 2>&1 | tee "$log"
# C sources of dependencies may still warn; they lie under .build.
if grep -E '^/.*/(Sources|Tests)/.*: warning: ' "$log" | grep -v '/\.build/' | sort -u >"$log.found"; then
    echo "check: the compiler warns about our code:" >&2
    cat "$log.found" >&2
    rm -f "$log.found"
    exit 1
fi
rm -f "$log.found"
