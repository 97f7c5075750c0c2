#!/usr/bin/env bash
# Builds both programs, what the conformance tests run, and the test bundle. Arguments go to `swift build`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# By name: `swift build --build-tests` would also build protoc, which is C++ and takes as long as all the rest.
for product in edge-agent control-hub websocket-bench control-hubPackageTests; do
    swift build --product "$product" "$@"
done
