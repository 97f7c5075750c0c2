#!/usr/bin/env bash
# Builds everything with its tests, then runs them. Arguments go to `swift build` and `swift test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

begin=$SECONDS
echo "test: building (the first build takes several minutes)"
scripts/build.sh "$@"
echo "test: built in $((SECONDS - begin)) s"
begin=$SECONDS
programs=$(swift build --show-bin-path "$@")
failed=() skipped=()

# Runs a step; one that fails or cannot be run here keeps no other from running, and is named again at the end.
step() {
    local name=$1 status=0
    shift
    "$@" || status=$?
    if ((status == 77)); then
        skipped+=("$name")
    elif ((status != 0)); then
        failed+=("$name")
    fi
}

# The tests are all Swift Testing; the XCTest runner would only report that it found none. A line for each of them hides
# the few that somebody who reads on after a failure is looking for: those are told once more.
swift_tests() {
    local log status=0
    log=$(mktemp)
    swift test --skip-build --disable-xctest "$@" 2>&1 | tee "$log" || status=$?
    if ((status != 0)); then
        echo "test: what failed of these:"
        grep -F "✘" "$log" || tail -n 20 "$log"
    fi
    rm -f "$log"
    return "$status"
}

scripts/conformance-env.sh
# Without it the tests with the real nanobot are left out; the script says so.
step "nanobot, for the tests with the real one" scripts/nanobot-env.sh
# Tests begin all at once unless they are told not to, and a machine with thirty times more work than processors keeps no
# time limit. Some wait most of the time, hence more of them than processors.
export SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=$((8 * $(nproc)))
step "unit tests" swift_tests --skip EndToEndTests --skip SystemTests --skip WorkTests "$@"
# By themselves: they compute for minutes, on the threads that all others wait for.
step "what messages cost" swift_tests --filter WorkTests "$@"
# By themselves: a thousand simulated networks take every core for a while.
step "simulated networks" swift_tests --filter SystemTests "$@"
# By themselves, because they start real programs, which other tests on all cores would starve.
export SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=$((3 * $(nproc)))
step "end-to-end tests" swift_tests --filter EndToEndTests --skip ShapedLinkTests "$@"
# Alone, because it measures.
step "shaped link" swift_tests --filter ShapedLinkTests "$@"
# Containers, with a real engine of their own; without one the contract of all backends ran against a recorded one above.
step "containers" scripts/docker-test.sh --installed "$@"
# A real Debian with systemd and control groups of version 2; `make boot-test` boots more of them.
step "booted machine" Tests/Boot/run.py --quick --programs "$programs"
# What hostile nodes, bots and strangers come to; `make hostile-test` tries more of it.
step "hostile senders" Tests/Hostile/run.py --quick --programs "$programs"
# A backup that is put back after a few operations; `make restore-test` does more, also with a state directory and a cloned disk.
step "copies put back" Tests/Restore/run.py --quick --programs "$programs"
# The API of a real hub, with few made-up requests; `make api-test` sends more.
scripts/api-env.sh
step "API" .build/api-test/bin/python Tests/API/run.py --programs "$programs" --examples 3
# A few of Autobahn's cases; `make conformance` runs them all.
step "Autobahn" Tests/Conformance/Autobahn/run.py --quick --program "$programs/websocket-bench"
# An operator's day in a real browser.
step "browser" env BROWSER_TEST_PROGRAMS="$programs" scripts/browser-test.sh

for name in ${skipped[@]+"${skipped[@]}"}; do
    echo "test: SKIPPED $name: what it needs cannot be had here (see above)" >&2
done
for name in ${failed[@]+"${failed[@]}"}; do echo "test: FAILED $name" >&2; done
status=$((${#failed[@]} > 0))
echo "test: ran in $((SECONDS - begin)) s, exit $status"
exit "$status"
