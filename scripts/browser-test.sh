#!/usr/bin/env bash
# Runs a script of Tests/Browser (the tests, unless named) with what it needs. Exits with 77 where that cannot be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for program in chromium chromedriver; do
    if ! command -v "$program" >/dev/null; then
        echo "browser: $program is missing: apt-get install chromium chromium-driver" >&2
        exit 77
    fi
done
if ! scripts/browser-env.sh; then
    echo "browser: Selenium and axe-core could not be installed from PyPI (see above)" >&2
    exit 77
fi
: "${BROWSER_TEST_PROGRAMS:=$PWD/.build/debug}"
BROWSER_TEST_PROGRAMS=$(realpath "$BROWSER_TEST_PROGRAMS")
export BROWSER_TEST_PROGRAMS
exec .build/browser/bin/python "Tests/Browser/${1:-story.py}"
