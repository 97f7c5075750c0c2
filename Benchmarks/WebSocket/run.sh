#!/usr/bin/env bash
# Installs what the comparison needs, builds the programs and runs measure.py; arguments are names of its tables.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

packages=(libboost-dev libwebsockets-dev libssl-dev gcc g++ python3 python3-venv openssl time util-linux)
missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
done
if ((${#missing[@]} > 0)); then
    echo "bench: installing ${missing[*]}" >&2
    as_root=()
    ((EUID == 0)) || as_root=(sudo)
    "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 -qq update >&2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
fi

build=(swift build -c release --static-swift-stdlib --product websocket-bench)
echo "bench: building (the first build takes several minutes)" >&2
"${build[@]}" -q >&2
bin=$PWD/.build/bench
mkdir -p "$bin"
strip -o "$bin/websocket-bench" "$("${build[@]}" --show-bin-path)/websocket-bench"

# Rebuilt when the source is newer.
compile() { # program source compiler...
    local program=$bin/$1 source=peers/$2
    shift 2
    [[ $program -nt $source && $program -nt peers/peer.h ]] || "$1" -O2 -Wall -o "$program" "$source" "${@:2}"
}
compile raw raw.c gcc -lssl -lcrypto -lpthread
compile loader loader.c gcc -lssl -lcrypto
compile lws lws.c gcc -lwebsockets -lssl -lcrypto
compile beast beast.cpp g++ -std=c++20 -lssl -lcrypto -lpthread
if ! "$bin/python/bin/python" -c 'import picows, uvloop, websockets' 2>/dev/null; then
    python3 -m venv "$bin/python"
    "$bin/python/bin/pip" install -q picows uvloop websockets >&2
fi

exec python3 measure.py "$bin" "$@"
