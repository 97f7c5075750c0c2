#!/usr/bin/env bash
# Makes the Python environment of Tests/Browser in .build/browser, once, and prints nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=.build/browser
wanted=Tests/Browser/requirements.txt
# Only for the axe-core in it: what it would bring along is another driver of browsers.
axe=axe-playwright-python==0.1.8
stamp=$(cat "$wanted"; echo "$axe")
if [[ $stamp != "$(cat "$folder/installed.txt" 2>/dev/null)" ]]; then
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
    "$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps "$axe"
    echo "$stamp" > "$folder/installed.txt"
fi
