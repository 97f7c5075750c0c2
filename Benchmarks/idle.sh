#!/usr/bin/env bash
# What an idle agent costs, and its hub with that one node: release programs on loopback over TLS, connected, no bot.
# SECONDS_IDLE=60 is the time watched; JSON=1 prints one JSON object instead of a table. Linux only.
# AGENT and HUB name the programs; by default what `make build` left.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
agent=$(realpath "${AGENT:-.build/dist/edge-agent}") hub=$(realpath "${HUB:-.build/dist/control-hub}")
idle=${SECONDS_IDLE:-60}

work=$(mktemp -d)
pids=()
finish() {
    local status=$?
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    ((status == 0)) || tail -n 20 "$work"/*.log >&2 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

wait_for() { # what command...
    local what=$1
    shift
    for ((try = 0; try < 300; try++)); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "bench-idle: no $what after 30 s" >&2
    exit 1
}
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }
memory_kib() { awk -v name="$2:" '$1 == name { print $2 }' "/proc/$1/smaps_rollup"; }

"$hub" serve --listen 127.0.0.1:0 --data-dir "$work/hub" >"$work/hub.log" 2>&1 &
hub_pid=$!
pids+=("$hub_pid")
wait_for "hub.address" test -s "$work/hub/hub.address"
url=https://$(<"$work/hub/hub.address") ca=$work/hub/tls/ca.pem
wait_for "ready hub" curl -fsS --noproxy '*' --cacert "$ca" "$url/readyz"
token=$("$hub" operator add bench --role admin --json --data-dir "$work/hub" | field token)
code=$("$hub" enrollment create --json --data-dir "$work/hub" | field code)
"$agent" enroll --hub "$url" --code "$code" --ca-file "$ca" --state-dir "$work/agent" >"$work/agent.log" 2>&1
"$agent" run --state-dir "$work/agent" >>"$work/agent.log" 2>&1 &
agent_pid=$!
pids=("$agent_pid" "$hub_pid")
is_online() {
    curl -fsS --noproxy '*' --cacert "$ca" -H "Authorization: Bearer $token" "$url/api/nodes" | grep -q '"online"'
}
wait_for "node online" is_online

agent_before=$(ticks "$agent_pid") hub_before=$(ticks "$hub_pid")
sleep "$idle"
is_online || { echo "bench-idle: the node did not stay online" >&2; exit 1; }
agent_ticks=$(($(ticks "$agent_pid") - agent_before)) hub_ticks=$(($(ticks "$hub_pid") - hub_before))
hertz=$(getconf CLK_TCK)
percent() { awk -v t="$1" -v h="$hertz" -v s="$idle" 'BEGIN { printf "%.2f", 100 * t / h / s }'; }

values=(
    agent_binary_bytes "$(stat -c %s "$agent")"
    agent_rss_kib "$(memory_kib "$agent_pid" Rss)"
    agent_pss_kib "$(memory_kib "$agent_pid" Pss)"
    agent_threads "$(ls "/proc/$agent_pid/task" | wc -l)"
    agent_cpu_percent "$(percent "$agent_ticks")"
    hub_rss_kib "$(memory_kib "$hub_pid" Rss)"
    hub_pss_kib "$(memory_kib "$hub_pid" Pss)"
    hub_cpu_percent "$(percent "$hub_ticks")"
    seconds_idle "$idle"
)
if [[ ${JSON:-} == 1 ]]; then
    printf '%s\n' "${values[@]}" | python3 -c '
import json, sys
words = sys.stdin.read().split()
print(json.dumps({name: float(value) if "." in value else int(value) for name, value in zip(words[::2], words[1::2])}))'
else
    printf '%-20s %12s\n' "${values[@]}"
fi
