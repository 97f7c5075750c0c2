#!/usr/bin/env bash
# Installs the Debian packages that the build, the tests and the demo need and that are missing, and those named as
# arguments. Silent about the rest.
set -euo pipefail

packages=(
    libssl-dev zlib1g-dev libsqlite3-dev pkg-config  # headers of the libraries we link, and how to find them
    libcurl4-openssl-dev                             # containers: its headers, and the library the agent loads for them
    binutils                                         # strip
    python3                                          # the sample bot and the demo
    python3-venv                                     # the agent in Python of Tests/Conformance
    curl openssl iproute2                            # the demo looks at the API, certificates and sockets
    tinyproxy microsocks                             # tests: the agent through CONNECT and SOCKS 5
    nginx-light haproxy caddy                        # tests: the hub behind the proxies people put in front of it
    chromium chromium-driver                         # tests: the dashboard in a browser
    prometheus                                       # tests: promtool looks at the metrics
    "$@"
)

if ! command -v swift >/dev/null; then
    echo "deps: no Swift toolchain found; install Swift 6.3 from https://www.swift.org/install and put it on PATH" >&2
    exit 1
fi
if ! command -v dpkg-query >/dev/null; then
    echo "deps: not a Debian system; please see to it that these are installed: ${packages[*]}" >&2
    exit 0
fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
    echo "deps: nothing to install"
    exit 0
fi

echo "deps: installing ${missing[*]}"
as_root=()
if ((EUID != 0)); then
    # sudo may ask for a password on a terminal, and cannot without one.
    if ! command -v sudo >/dev/null || { [[ ! -t 0 ]] && ! sudo -n true 2>/dev/null; }; then
        echo "deps: needs root. Run this once: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
wait_for_lock=(-o DPkg::Lock::Timeout=300 -qq)
"${as_root[@]}" apt-get "${wait_for_lock[@]}" update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get "${wait_for_lock[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null
echo "deps: installed ${missing[*]}"
