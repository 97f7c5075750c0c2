#!/usr/bin/env bash
# Builds everything with its tests, then runs them. Arguments go to `swift build` and `swift test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

begin=$SECONDS
echo "test: building (the first build takes several minutes)"
scripts/build.sh "$@"
echo "test: built in $((SECONDS - begin)) s"
scripts/conformance-env.sh
# Without it the tests with the real nanobot are left out; the script says so.
nanobot=0
scripts/nanobot-env.sh || nanobot=$?
begin=$SECONDS
status=0
# Tests begin all at once unless they are told not to, and a machine with thirty times more work than processors keeps no
# time limit. Some wait most of the time, hence more of them than processors.
export SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=$((8 * $(nproc)))
# The tests are all Swift Testing; the XCTest runner would only report that it found none.
swift test --skip-build --disable-xctest --skip EndToEndTests --skip SystemTests "$@" || status=$?
# By themselves: a thousand simulated networks take every core for a while.
swift test --skip-build --disable-xctest --filter SystemTests "$@" || status=$?
# By themselves, because they start real programs, which other tests on all cores would starve.
SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=$((3 * $(nproc))) \
    swift test --skip-build --disable-xctest --filter EndToEndTests --skip ShapedLinkTests "$@" || status=$?
# Alone, because it measures.
swift test --skip-build --disable-xctest --filter ShapedLinkTests "$@" || status=$?
# Containers, with a real engine of their own; without one the contract of all backends ran against a recorded one above.
docker=0
scripts/docker-test.sh --installed "$@" || docker=$?
if ((docker == 77)); then
    echo "test: SKIPPED the tests with a real container engine, because there is none (see above)" >&2
elif ((docker != 0)); then
    status=$docker
fi
# A real Debian with systemd and control groups of version 2; `make boot-test` boots more of them.
boot=0
Tests/Boot/run.py --quick --programs "$(swift build --show-bin-path "$@")" || boot=$?
if ((boot == 77)); then
    echo "test: SKIPPED the tests on a booted machine, because none can be booted here (see above)" >&2
elif ((boot != 0)); then
    status=$boot
fi
# What hostile nodes, bots and strangers come to; `make hostile-test` tries more of it.
Tests/Hostile/run.py --quick --programs "$(swift build --show-bin-path "$@")" || status=$?
# The API of a real hub, with few made-up requests; `make api-test` sends more.
scripts/api-env.sh
.build/api-test/bin/python Tests/API/run.py --programs "$(swift build --show-bin-path "$@")" --examples 3 || status=$?
# A few of Autobahn's cases; `make conformance` runs them all.
conformance=0
Tests/Conformance/Autobahn/run.py --quick --program "$(swift build --show-bin-path "$@")/websocket-bench" || conformance=$?
if ((conformance == 77)); then
    echo "test: SKIPPED Autobahn's cases, because the suite could not be installed on this machine (see above)" >&2
elif ((conformance != 0)); then
    status=$conformance
fi
# An operator's day in a real browser.
browser=0
BROWSER_TEST_PROGRAMS="$(swift build --show-bin-path "$@")" scripts/browser-test.sh || browser=$?
if ((browser == 77)); then
    echo "test: SKIPPED the dashboard's tests in a browser, because what they need could not be installed here (see above)" >&2
elif ((browser != 0)); then
    status=$browser
fi
if ((nanobot == 77)); then
    echo "test: SKIPPED the tests with the real nanobot, because it could not be installed on this machine (see above)" >&2
elif ((nanobot != 0)); then
    status=$nanobot
fi
echo "test: ran in $((SECONDS - begin)) s, exit $status"
exit "$status"
