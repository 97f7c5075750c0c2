#!/usr/bin/env bash
# Tests the Docker runtime with a real engine and a real registry, both started for the occasion in a network namespace
# of their own. `--installed`: only where the engine is installed already; exits with 77 where these tests cannot run.
# Other arguments go to `swift build` and `swift test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

skip() {
    echo "docker-test: SKIPPED, because $1" >&2
    exit 77
}

if [[ ${1:-} == --inside ]]; then
    shift
    dir=$(mktemp -d /tmp/edge-docker-test-XXXXXX)
    registry=
    trap '[[ -z $registry ]] || kill "$registry"; scripts/docker-engine.sh down "$dir/engine"; rm -rf "$dir"' EXIT
    ip link set lo up
    scripts/docker-engine.sh up "$dir/engine"
    export EDGE_TEST_DOCKER_SOCKET=$dir/engine/docker.sock

    # A registry that wants a password. Port 0: it says itself where it listens.
    mkdir -p "$dir/login" "$dir/registry"
    python3 -W ignore -c 'import crypt; print("tester:" + crypt.crypt("secret", "$2b$05$" + "a" * 22))' >"$dir/htpasswd"
    cat >"$dir/registry.yml" <<END
version: 0.1
log: {level: info}
storage: {filesystem: {rootdirectory: $dir/registry}}
http: {addr: 127.0.0.1:0}
auth: {htpasswd: {realm: test, path: $dir/htpasswd}}
END
    docker-registry serve "$dir/registry.yml" >"$dir/registry.log" 2>&1 &
    registry=$!
    port=
    for ((tries = 0; tries < 100; tries++)); do
        port=$(grep -o 'listening on 127.0.0.1:[0-9]*' "$dir/registry.log" | head -1 | cut -d: -f2) || true
        [[ -z $port ]] || break
        sleep 0.1
    done
    [[ -n $port ]] || { tail "$dir/registry.log" >&2; exit 1; }
    export EDGE_TEST_REGISTRY=127.0.0.1:$port EDGE_TEST_REGISTRY_CREDENTIALS=$dir/login/config.json
    printf '{"auths":{"127.0.0.1:%s":{"auth":"%s"}}}' "$port" "$(printf tester:secret | base64)" >"$dir/login/config.json"
    login=$(printf '{"username":"tester","password":"secret","serveraddress":"127.0.0.1:%s"}' "$port" | base64 -w0)
    api() { curl -fsS --unix-socket "$EDGE_TEST_DOCKER_SOCKET" -X POST "$@"; }
    api "http://engine/images/busybox:test/tag?repo=127.0.0.1:$port/test/busybox&tag=1"
    api -H "X-Registry-Auth: $login" "http://engine/images/127.0.0.1:$port/test/busybox/push?tag=1" >"$dir/push.log"
    grep -q '"error"' "$dir/push.log" && { cat "$dir/push.log" >&2; exit 1; }
    curl -fsS --unix-socket "$EDGE_TEST_DOCKER_SOCKET" -X DELETE \
        "http://engine/images/127.0.0.1:$port/test/busybox:1" >/dev/null

    status=0
    swift test --skip-build --disable-xctest --filter 'RuntimeBackendContractTests|DockerEngineTests|DockerFoundTests|EngineProtocolTests|DockerStoryTests' "$@" || status=$?
    exit "$status"
fi

if [[ ${1:-} == --installed ]]; then
    shift
    for program in dockerd docker-registry busybox iptables; do
        command -v "$program" >/dev/null || skip "$program is not installed; make docker-test installs what is needed"
    done
else
    scripts/install-deps.sh docker.io busybox-static iptables docker-registry
    swift build --product control-hubPackageTests "$@"
    swift build --product control-hub "$@"
    swift build --product edge-agent "$@"
fi
((EUID == 0)) || skip "an engine can only be started as root"
unshare -n true 2>/dev/null || skip "no network namespace can be made here"
exec unshare -n -m --propagation private "$0" --inside "$@"
