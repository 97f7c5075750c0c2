#!/usr/bin/env bash
# Installs the real nanobot for the tests in .build/nanobot, once, by the installer that node owners use. Exit status 77,
# with a line that says so, where the package index cannot be reached.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mkdir -p .build
if ! said=$(deploy/nanobot/install.sh .build/nanobot 2>&1 >/dev/null); then
    echo "nanobot: not installed, so the tests with the real nanobot are left out: $(tail -n 1 <<<"$said")" >&2
    exit 77
fi
