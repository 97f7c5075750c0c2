#!/usr/bin/env python3
"""A machine with hub, agent and bots whose mains fail, again and again, under load. Run it by `make power-test`.

One disk boots under User Mode Linux, so often as --cuts says, and is killed at moments that a seed chooses: what its kernel had
not flushed is gone. What was acknowledged it had told on its serial line, which ends in a file of this machine; after each
boot all of it must still be there, once, in order and without a hole. Prints the counts, and ends with 1 where something is
missing. BROKEN=flushing takes the flushing of commits from the (debug) programs, and then something must be.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

import machine
import run
from machine import Failure, Machine, Programs
from power_check import Ledger

WHERE = "debian12"
GUEST = machine.HERE / "power"
# From boot to load, with debug programs on a busy machine.
LIMIT = 240
# Seconds of load before a cut: sometimes none to speak of.
LOAD = (0, 0.5, 1, 2, 4, 6)


def say(text):
    print(f"power-test: {text}", flush=True)


class Fall:
    """Lets the mains fail some time after the load has begun."""

    def __init__(self, seconds):
        self.seconds, self.at = seconds, None

    def __call__(self, printed):
        if b"\nSTUCK " in printed:
            return True
        if self.at is None and b"\nLOAD " in printed:
            self.at = time.monotonic() + self.seconds
        return self.at is not None and time.monotonic() >= self.at


def prepare(options, work):
    machine.build(WHERE, say)
    share = work / "share"
    slim = work / "programs"
    slim.mkdir()
    for name in Programs.NAMES:
        machine.run(["strip", "-o", slim / name, options.programs.resolve() / name])
    shutil.copytree(GUEST, share)
    Programs(slim).put(WHERE, share / "checkout")
    return share


def go(options, work):
    share = prepare(options, work)
    made = Machine(WHERE, share, work)
    chance = random.Random(options.seed)
    ledger = Ledger()
    broken = os.environ.get("BROKEN")
    environment = {"TEST_WITHOUT_DEFENCES": broken} if broken else {}
    began = time.monotonic()
    for boot in range(1, options.cuts + 2):
        is_last = boot == options.cuts + 1
        plan = {"seed": options.seed, "environment": environment, "last": is_last, "whole": is_last or boot % 25 == 0, **ledger.plan()}
        (share / "plan.json").write_text(json.dumps(plan))
        seconds = 2 if is_last else chance.choice(LOAD) * (0.5 + chance.random())
        text, in_time = made.boot([str(boot), "power"], LIMIT, f"/{machine.INSIDE}/start", Fall(seconds))
        if options.keep_output:
            options.keep_output.mkdir(parents=True, exist_ok=True)
            (options.keep_output / f"output-{boot}").write_text(text)
        ledger.take(boot, text, plan["whole"])
        if not in_time or "\nLOAD " not in text:
            ledger.fail(f"boot {boot} did not come to its load: {text[-3000:]}\n{made.screen()[-1000:]}")
        if boot % 10 == 0 or is_last or ledger.violations:
            say(f"{time.monotonic() - began:5.0f} s  {boot - is_last} cuts, {ledger.counts()}")
        if ledger.violations:
            break
    for violation in ledger.violations[:20]:
        say(violation)
    say(f"{'FAILED' if ledger.violations else 'nothing acknowledged was missing, nothing came twice'}, {time.monotonic() - began:.0f} s")
    return 1 if ledger.violations else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=pathlib.Path, default=machine.CHECKOUT / ".build" / "debug")
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1, help="chooses the moments, and what is done in between")
    parser.add_argument("--keep-output", type=pathlib.Path, metavar="DIR", help="what the machine told, boot by boot")
    options = parser.parse_args()
    reason = run.skip_reason(WHERE)
    if reason:
        say(f"SKIPPED, because {reason}")
        return 77
    work = pathlib.Path(tempfile.mkdtemp(prefix="power-test-"))
    try:
        return go(options, work)
    except Failure as failure:
        say(failure)
        return 1
    finally:
        for number in signal.SIGINT, signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
        for group in list(Machine.running):
            Machine.kill(group)
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
