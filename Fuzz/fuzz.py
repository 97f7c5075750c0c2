#!/usr/bin/env python3
"""Builds the fuzz targets and runs them all for a bounded time. See docs/testing.md, "Fuzzing".

    Fuzz/fuzz.py [--seconds 60] [--target NAME]...     new inputs stay in Fuzz/.build; exit status 1 after a finding
    Fuzz/fuzz.py --keep                                then adds to Fuzz/Corpus what reaches code that nothing else does
    Fuzz/fuzz.py --target NAME --replay FILE           runs one input
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import seeds

HERE = pathlib.Path(__file__).resolve().parent
FUZZER = HERE / ".build" / "release" / "Fuzzer"
CORPUS = HERE / "Corpus"
FAIL_CASES = HERE / "FailCases"
FOUND = HERE / ".build" / "found"
AT_ONCE = 2
# Longer inputs find nothing new in these targets, which make long payloads of short descriptions.
LIMITS = ["-max_len=4096", "-timeout=10", "-rss_limit_mb=2048", "-malloc_limit_mb=512"]
# Numbers at every limit, which a fuzzer would need long to guess.
DICTIONARY = f"-dict={HERE / 'numbers.dict'}"
# Swift's own crash reporter walks over memory that AddressSanitizer guards.
ENVIRONMENT = os.environ | {"SWIFT_BACKTRACE": "enable=no"}


def build():
    """Builds the targets; what the compiler says is shown only when it fails."""
    begin = time.monotonic()
    command = ["swift", "build", "--package-path", str(HERE), "-c", "release", "--product", "Fuzzer"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{result.stdout}{result.stderr}\nfuzz: the targets do not build")
    print(f"fuzz: built in {time.monotonic() - begin:.0f} s", flush=True)


def run(target, options, folders, seconds):
    """Runs libFuzzer; the limit beyond `seconds` ends it should it hang."""
    command = ["nice", str(FUZZER), f"--target={target}", *LIMITS, DICTIONARY, *options, *map(str, folders)]
    try:
        return subprocess.run(
            command, env=ENVIRONMENT, capture_output=True, text=True, errors="replace", check=False,
            timeout=seconds + 120,
        )
    except subprocess.TimeoutExpired as error:
        output = (error.stderr or b"").decode(errors="replace")
        return subprocess.CompletedProcess(command, -1, "", output + "\nfuzz: did not end in time")


def fuzz(target, seconds):
    """One target's share. Returns its row of the table."""
    found = FOUND / target
    folders = [found, CORPUS / target, FAIL_CASES / target]
    for folder in folders[:2]:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as artifacts:
        options = [f"-max_total_time={seconds}", "-print_final_stats=1", f"-artifact_prefix={artifacts}/"]
        result = run(target, options, [folder for folder in folders if folder.exists()], seconds)
        row = {"target": target, "verdict": "ok" if result.returncode == 0 else "FINDING"}
        for name, key in (("executions", "number_of_executed_units"), ("per_second", "average_exec_per_sec")):
            row[name] = int((re.findall(rf"stat::{key}:\s+(\d+)", result.stderr) or [0])[-1])
        row["coverage"] = int((re.findall(r"cov: (\d+)", result.stderr) or [0])[-1])
        row["corpus"] = int((re.findall(r"corp: (\d+)/", result.stderr) or [0])[-1])
        if result.returncode != 0:
            row["report"] = result.stderr[-6000:]
            row["cases"] = [keep_failure(target, path) for path in sorted(pathlib.Path(artifacts).iterdir())]
    return row


def keep_failure(target, path):
    """Puts an input that broke a promise where `make test` will find it ever after."""
    folder = FAIL_CASES / target
    folder.mkdir(parents=True, exist_ok=True)
    return str(shutil.move(path, folder / path.name))


def keep(target):
    """Makes the corpus anew from it and what was found: as few inputs as reach the same code."""
    before = len(list((CORPUS / target).iterdir()))
    with tempfile.TemporaryDirectory() as folder:
        # How often code is reached is worth looking at while fuzzing, and too much to keep.
        options = ["-set_cover_merge=1", "-use_counters=0"]
        result = run(target, options, [folder, CORPUS / target, FOUND / target], 300)
        if result.returncode != 0:
            sys.exit(f"{result.stderr}\nfuzz: {target}: the corpus could not be merged")
        shutil.rmtree(CORPUS / target)
        shutil.copytree(folder, CORPUS / target)
    print(f"fuzz: {target}: {before} inputs, now {len(list((CORPUS / target).iterdir()))}", flush=True)


def report(row):
    """One line for people, and after a finding everything needed to look into it."""
    print(
        f"fuzz: {row['target']:<18} {row['executions']:>9} executions {row['per_second']:>7}/s  "
        f"coverage {row['coverage']:>5}  corpus {row['corpus']:>4}  {row['verdict']}",
        flush=True,
    )
    if row["verdict"] != "ok":
        print(row["report"])
        for case in row["cases"]:
            print(f"fuzz: replay with: Fuzz/fuzz.py --target {row['target']} --replay {os.path.relpath(case)}")


def main():
    parser = argparse.ArgumentParser(description="runs the fuzz targets for a bounded time")
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together, without the build")
    parser.add_argument("--target", action="append", help="only this one; may be repeated")
    parser.add_argument("--keep", action="store_true", help="add to the corpus afterwards")
    parser.add_argument("--replay", help="run this one input of --target instead")
    arguments = parser.parse_args()

    build()
    seeds.write(FOUND)
    known = subprocess.run([FUZZER, "--list"], capture_output=True, text=True, check=True).stdout.split()
    targets = arguments.target or known
    if unknown := set(targets) - set(known):
        sys.exit(f"fuzz: no such target: {', '.join(unknown)}; there are: {', '.join(known)}")
    if arguments.replay:
        result = run(targets[0], [], [arguments.replay], 60)
        print(result.stderr)
        sys.exit(0 if result.returncode == 0 else 1)

    share = max(1, arguments.seconds * AT_ONCE // len(targets))
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        rows = []
        for row in pool.map(lambda target: fuzz(target, share), targets):
            report(row)
            rows.append(row)
        if arguments.keep:
            list(pool.map(keep, targets))
    failed = [row["target"] for row in rows if row["verdict"] != "ok"]
    if os.environ.get("JSON"):
        print(json.dumps([{key: row[key] for key in row if key != "report"} for row in rows]))
    print(f"fuzz: {sum(row['executions'] for row in rows)} executions of {len(rows)} targets, "
          + (f"findings in {', '.join(failed)}" if failed else "no finding"))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
