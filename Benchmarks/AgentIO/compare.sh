#!/usr/bin/env bash
# One table: what the agent's I/O costs as an epoll loop of our own and as SwiftNIO channels, beside plain C.
# RUNS=5 repeats of each measurement, the median is shown. Builds release programs, static and stripped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

runs=${RUNS:-5} rounds=${ROUNDS:-20000} blocks=${BLOCKS:-16384}
build=(swift build -c release --static-swift-stdlib --scratch-path "${SCRATCH:-.build}")
for product in NIOAgentIO EpollAgentIO; do "${build[@]}" --product "$product" >&2; done
bin=$("${build[@]}" --show-bin-path)

work=$(mktemp -d)
trap 'exec 3>&-; rm -rf "$work"' EXIT
cc -O2 -Wall -o "$work/c" peer/peer.c -lssl -lcrypto -lpthread
strip "$work/c"
strip -o "$work/epoll" "$bin/EpollAgentIO"
strip -o "$work/nio" "$bin/NIOAgentIO"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout "$work/key" -out "$work/ca" 2>/dev/null

# The peer serves until its stdin closes.
mkfifo "$work/stdin"
"$work/c" serve "$work/ca" "$work/key" <"$work/stdin" >"$work/port" &
exec 3>"$work/stdin"
until [[ -s $work/port ]]; do sleep 0.1; done
port=$(<"$work/port")

value() { sed -n "s/.*\b$1=\([0-9.]*\).*/\1/p"; }
median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
# A hanging program fails the run instead of holding it up.
limited() { timeout 120 "$@"; }
# Lines that are neither blank nor only comment.
lines() { cat "$@" | grep -vcE '^\s*(//|$)'; }

idle() { # program -> "rss_kib pss_kib threads cpu_ms_in_10_s"
    "$1" idle "$port" "$work/ca" 1 >"$work/idle" &
    local pid=$!
    for ((try = 0; try < 100; try++)); do [[ -s $work/idle ]] && break || sleep 0.1; done
    [[ -s $work/idle ]] || { echo "compare: $1 did not connect" >&2; exit 1; }
    sleep 1
    local before after
    before=$(awk '{ print $14 + $15 }' "/proc/$pid/stat")
    sleep 10
    after=$(awk '{ print $14 + $15 }' "/proc/$pid/stat")
    awk -v threads="$(ls "/proc/$pid/task" | wc -l)" -v ms="$(((after - before) * 10))" \
        '/^Rss:/ { r = $2 } /^Pss:/ { p = $2 } END { print r, p, threads, ms }' "/proc/$pid/smaps_rollup"
    kill "$pid"
    wait "$pid" 2>/dev/null || true
    : >"$work/idle"
}

kit=../../Sources/WebSocketKit-Lite
printf 'machine: %s, %s cores, kernel %s, %s, load %s\n' "$(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo)" \
    "$(nproc)" "$(uname -r)" "$(openssl version | cut -d' ' -f1,2)" "$(cut -d' ' -f1 /proc/loadavg)"
printf 'runs: median of %s; echo %s x 128 B; transfer %s x 64 KiB\n\n' "$runs" "$rounds" "$blocks"
cat <<'TABLE'
| | binary MB | idle RSS MB | idle PSS MB | threads | CPU ms in 10 s idle | lines |
|---|--:|--:|--:|--:|--:|--:|
TABLE
for side in c epoll nio; do
    read -r rss pss threads cpu < <(idle "$work/$side")
    case $side in
    c) loc=- ;;
    epoll) loc=$(lines $kit/Transport/{EpollLoop,OwnedThread,ReadinessGate,SocketHandle,ByteStream,TLSStream}.swift \
        $kit/TLS/{TLSSession,TLSContext,OpenSSLError}.swift) ;;
    nio) loc=$(lines Sources/NIOAgentIO/{OpenSSLClientHandler,NIOConnection}.swift) ;;
    esac
    awk -v side="$side" -v size="$(stat -c %s "$work/$side")" -v rss="$rss" -v pss="$pss" -v threads="$threads" \
        -v cpu="$cpu" -v loc="$loc" 'BEGIN {
            printf "| %s | %.2f | %.1f | %.1f | %d | %d | %s |\n", side, size / 1e6, rss / 1024, pss / 1024, threads, cpu, loc }'
done

# The sides take turns within each round, so that whatever else the machine does falls on all of them alike.
# "epoll+limits" gives every read and write a deadline, as the agent does.
sides=(c epoll epoll+limits nio)
for ((run = 0; run < runs; run++)); do
    for side in "${sides[@]}"; do
        unset LIMITED
        [[ $side != *+limits ]] || export LIMITED=1
        for scenario in echo write read; do
            count=$blocks
            [[ $scenario != echo ]] || count=$rounds
            limited "$work/${side%+limits}" $scenario "$port" "$work/ca" "$count" >>"$work/$side.$scenario"
        done
    done
done
of() { value "$1" <"$work/$side.$2" | median; }
cat <<'TABLE'

| | echo p50 us | echo p99 us | CPU us per echo | write MB/s | CPU ms per GB written | read MB/s | CPU ms per GB read |
|---|--:|--:|--:|--:|--:|--:|--:|
TABLE
for side in "${sides[@]}"; do
    echo "| $side | $(of p50_us echo) | $(of p99_us echo) | $(of cpu_us echo) | $(of mb_per_s write) | $(of cpu_ms write)" \
        "| $(of mb_per_s read) | $(of cpu_ms read) |"
done
