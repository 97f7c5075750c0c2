#!/usr/bin/env bash
# A container engine for tests, with its own data and its own socket, apart from any engine of the machine.
#
#   docker-engine.sh up DIR      starts it; socket DIR/docker.sock. Run it in a network namespace of its own: it makes
#                                bridges and NAT rules in the one it is started in.
#   docker-engine.sh down DIR    ends it, its containers and its mounts, and removes DIR
#
# Images are made from this machine's files, without any registry: `busybox:test`, and `sample-bot:test` with Python.
set -euo pipefail

dir=$2
socket=$dir/docker.sock

api() { curl -fsS --unix-socket "$socket" "$@"; }

# import NAME:TAG ROOT - makes an image of one layer
import() {
    tar -C "$2" -c . | api -X POST -H 'Content-Type: application/x-tar' --data-binary @- \
        "http://engine/images/create?fromSrc=-&repo=${1%:*}&tag=${1#*:}" >/dev/null
}

# base ROOT - a root file system around busybox
base() {
    mkdir -p "$1"/{bin,etc,tmp,usr/bin,usr/lib}
    chmod 1777 "$1/tmp"
    cp "$(command -v busybox)" "$1/bin/busybox"
    for applet in $("$1/bin/busybox" --list); do
        [[ $applet == busybox ]] || ln -sf busybox "$1/bin/$applet"
    done
    echo 'root:x:0:0:root:/:/bin/sh' >"$1/etc/passwd"
}

# python ROOT - this machine's Python with the libraries it loads
python() {
    local program library
    program=$(readlink -f "$(command -v /usr/bin/python3 || command -v python3)")
    cp "$program" "$1/usr/bin/python3"
    library=$("$program" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
    mkdir -p "$1$library"
    tar -C "$library" --exclude=__pycache__ --exclude=test --exclude=dist-packages --exclude=ensurepip --exclude=idlelib \
        --exclude='config-*' -c . | tar -C "$1$library" -x
    for library in $(ldd "$program" "$library"/lib-dynload/_ssl*.so "$library"/lib-dynload/_json*.so \
        "$library"/lib-dynload/_ctypes.*.so 2>/dev/null | grep -o '/[^ ]*' | grep -v ':$' | sort -u); do
        mkdir -p "$1$(dirname "$library")"
        cp -L "$library" "$1$library"
    done
}

up() {
    mkdir -p "$dir"
    local storage=overlay2
    # An overlay cannot lie on another one.
    [[ $(stat -f -c %T "$dir") == overlayfs ]] && storage=vfs
    setsid dockerd --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid" -H "unix://$socket" \
        --exec-opt native.cgroupdriver=cgroupfs --log-level warn --storage-driver "$storage" \
        >"$dir/log" 2>&1 </dev/null &
    for ((tries = 0; ; tries++)); do
        api http://engine/_ping >/dev/null 2>&1 && break
        if ((tries == 300)); then
            tail -20 "$dir/log" >&2
            exit 1
        fi
        sleep 0.1
    done
    local root
    root=$(mktemp -d)
    base "$root"
    import busybox:test "$root"
    python "$root"
    mkdir -p "$root/opt/bot"
    cp samples/bot/sample-bot "$root/opt/bot/"
    import sample-bot:test "$root"
    rm -rf "$root"
}

down() {
    local pid id
    pid=$(cat "$dir/pid" 2>/dev/null) || true
    if [[ -n $pid ]]; then
        for id in $(api "http://engine/containers/json?all=1" 2>/dev/null | grep -o '"Id":"[0-9a-f]*"' | cut -d'"' -f4); do
            api -X DELETE "http://engine/containers/$id?force=1" >/dev/null || true
        done
        kill "$pid" 2>/dev/null || true
        for ((tries = 0; tries < 100; tries++)); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
    fi
    # An engine that ended by itself has left none.
    { grep -o " $dir/[^ ]*" /proc/mounts || true; } | sort -r | while read -r mount; do umount "$mount" || true; done
    rm -rf "$dir"
}

"$1"
