#!/usr/bin/env python3
"""Runs Autobahn|Testsuite against the kit's client and against the hub's WebSocket server.

usage: run.py [--program websocket-bench] [--quick] [--role client|server] [--cases 1.* 9.7.*] [--reports DIR]

Prints every case that is not as it should be, then one line per role, and ends with 1 if there was one. The server is
tested as the hub sets it up, and its compression once more with windows that are kept between messages. Ends with 77
where the suite cannot be installed.
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = HERE.parents[2] / "Benchmarks" / "WebSocket"
AGENT = "control-hub"
# The RFC leaves open when invalid text is noticed within a message; to notice it at the end is not strict.
MAY_BE_NON_STRICT = ("6.4.",)
COMPRESSION = ["12.*", "13.*"]
# A few of each group, none that moves much data: under a minute for both roles. A name that the suite does not know
# makes it hang.
QUICK = [
    "1.1.1", "1.1.6", "1.1.8", "1.2.3", "1.2.8", "2.1", "2.4", "2.6", "2.10", "3.1", "3.3", "3.5", "4.1.1", "4.1.4", "4.2.1", "4.2.3",
    "5.1", "5.3", "5.8", "5.15", "5.19", "6.1.3", "6.2.3", "6.3.1", "6.4.1", "6.6.5", "6.12.1", "6.21.1", "7.1.1", "7.1.4", "7.3.2", "7.3.6",
    "7.5.1", "7.7.3", "7.9.1", "7.9.5", "9.1.1", "9.7.1", "10.1.1", "12.1.1", "12.3.2", "13.1.1", "13.4.1", "13.7.1",
]
# The exit status that says that the suite is missing, not that a case failed.
NOT_INSTALLED = 77
# No role takes longer, unless something hangs.
LIMIT_SECONDS = 3600


def say(text):
    print(text, flush=True)


def fail(text):
    sys.exit(f"conformance: {text}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port, process, log):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    fail(f"nothing listens on 127.0.0.1:{port}; see {log}:\n{log.read_text()[-2000:]}")


class Background:
    """A program that runs until it is no longer needed."""

    def __init__(self, command, port, log):
        with open(log, "w") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            wait_for(port, self.process, log)
        except BaseException:
            self.process.kill()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def write_spec(folder, name, spec):
    path = folder / name
    path.write_text(json.dumps(spec))
    return path


def run_to_end(command, log):
    with open(log, "w") as out:
        try:
            status = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, timeout=LIMIT_SECONDS).returncode
        except subprocess.TimeoutExpired:
            fail(f"{command[0]} did not end within {LIMIT_SECONDS} s; see {log}")
    if status != 0:
        fail(f"{command[0]} ended with {status}; see {log}:\n{log.read_text()[-2000:]}")


def test_client(wstest, program, cases, folder):
    port = free_port()
    reports = folder / "client"
    spec = write_spec(folder, "client.json", {
        "url": f"ws://127.0.0.1:{port}", "outdir": str(reports), "cases": cases,
        "exclude-cases": [], "exclude-agent-cases": {},
    })
    command = [wstest, "--mode", "fuzzingserver", "--spec", str(spec), "--webport", "0"]
    with Background(command, port, folder / "fuzzingserver.log"):
        run_to_end([program, "autobahn", "--url", f"ws://127.0.0.1:{port}", "--agent", AGENT],
                   folder / "client.log")
    return reports


def test_server(wstest, program, cases, folder, name, options):
    port = free_port()
    reports = folder / name
    spec = write_spec(folder, f"{name}.json", {
        "outdir": str(reports), "servers": [{"agent": AGENT, "url": f"ws://127.0.0.1:{port}"}], "cases": cases,
        "exclude-cases": [], "exclude-agent-cases": {},
    })
    with Background([program, "server", "--port", str(port)] + options, port, folder / f"{name}-program.log"):
        run_to_end([wstest, "--mode", "fuzzingclient", "--spec", str(spec)], folder / f"{name}.log")
    return reports


def judge(role, reports):
    """Lists what is not as it should be; returns whether all is well and the line of counts."""
    index = reports / "index.json"
    if not index.exists():
        fail(f"the suite wrote no report into {reports}")
    results = json.loads(index.read_text()).get(AGENT, {})
    counts = {"OK": 0, "NON-STRICT": 0, "INFORMATIONAL": 0, "FAILED": 0}
    for case, result in sorted(results.items(), key=lambda item: [int(part) for part in item[0].split(".")]):
        behavior, close = result["behavior"], result["behaviorClose"]
        verdict = behavior if behavior in counts else "FAILED"
        if verdict == "NON-STRICT" and not case.startswith(MAY_BE_NON_STRICT):
            verdict = "FAILED"
        if close not in ("OK", "INFORMATIONAL"):
            verdict = "FAILED"
        counts[verdict] += 1
        if verdict == "FAILED":
            say(f"{role} {case}: {behavior}, close {close}; see {reports / result['reportfile']}")
    if not results:
        say(f"{role}: the suite ran no case")
    line = (f"{role}: {counts['OK']} OK, {counts['NON-STRICT']} non-strict, "
            f"{counts['INFORMATIONAL']} informational, {counts['FAILED']} failed")
    return bool(results) and counts["FAILED"] == 0, line


def build():
    command = ["swift", "build", "--package-path", str(PACKAGE), "-c", "release", "--static-swift-stdlib",
               "--product", "websocket-bench"]
    say("conformance: building websocket-bench (the first build takes several minutes)")
    if subprocess.run(command + ["-q"]).returncode != 0:
        fail("the build failed")
    return os.path.join(subprocess.check_output(command + ["--show-bin-path"], text=True).strip(), "websocket-bench")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", help="a websocket-bench that is built already")
    parser.add_argument("--role", choices=["client", "server"], help="one role only")
    parser.add_argument("--cases", nargs="+", default=["*"], help="the suite's names, such as 9.* or 1.1.1")
    parser.add_argument("--reports", type=pathlib.Path, help="where the reports stay; otherwise they go once all is well")
    parser.add_argument("--quick", action="store_true", help="a few cases of each group")
    options = parser.parse_args()
    cases = QUICK if options.quick else options.cases

    wstest = subprocess.run([str(HERE / "install.sh")], stdout=subprocess.PIPE, text=True)
    if wstest.returncode != 0:
        say("conformance: Autobahn|Testsuite could not be installed, so NOTHING WAS TESTED; the reason stands above")
        sys.exit(NOT_INSTALLED)
    wstest = wstest.stdout.strip()
    program = options.program or build()
    folder = options.reports or pathlib.Path(tempfile.mkdtemp(prefix="conformance-"))
    if options.reports and folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    say(f"conformance: reports go to {folder}")

    verdicts = []

    def run(role, test):
        begin = time.monotonic()
        verdicts.append(judge(role, test()))
        say(f"conformance: {role} took {time.monotonic() - begin:.0f} s")

    if options.role in (None, "client"):
        run("client", lambda: test_client(wstest, program, cases, folder))
    if options.role in (None, "server"):
        if cases == ["*"]:
            run("server keeping windows", lambda: test_server(
                wstest, program, COMPRESSION, folder, "server-windows", ["--deflate", "--context-takeover"]))
        run("server", lambda: test_server(wstest, program, cases, folder, "server", ["--deflate"]))
    for _, line in verdicts:
        say(line)
    all_well = all(well for well, _ in verdicts)
    if all_well and not options.reports:
        shutil.rmtree(folder)
    sys.exit(0 if all_well else 1)


if __name__ == "__main__":
    main()
