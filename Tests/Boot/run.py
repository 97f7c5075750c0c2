#!/usr/bin/env python3
"""Boots real Debian systems under User Mode Linux and runs stories in them with our real programs. Run it by `make boot-test`.

A story is a shell script in `stories/`; what it may use stands in `lib.sh`. Prints a line for each story, everything about
those that failed, and a table of what was seen. Ends with 1 if a story failed. The machine `here` is a system in namespaces on this
machine's own kernel. With --quick one machine boots once and runs what matters most, and `here` shows what isolation its kernel
gives; where no machine can be booted that ends with 77, and says why.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import here
import machine
from machine import MACHINES, Failure, Machine, Programs

STORIES = machine.HERE / "stories"
NEEDED = ["user-mode-linux", "debootstrap", "e2fsprogs", "patchelf"]
# One boot, in this order.
QUICK = "debian12", ["install", "restarts", "limits"]
HEADINGS = ["story", "root", "process 1", "control groups", "a bot's group", "limits kept by"]


class Story:
    """A script, and what its header says that it needs."""

    def __init__(self, file):
        self.name = file.stem
        lines = file.read_text().splitlines()
        header = dict(match.groups() for match in (re.match(r"# (\w+): (.*)", line) for line in lines[:8]) if match)
        self.about = lines[0].lstrip("# ")
        self.machines = header.get("machines", "debian12").split()
        self.limit = int(header.get("limit", "180"))
        self.boots = int(header.get("boots", "1"))
        self.init = f"/{machine.INSIDE}/start" if header.get("init") == "none" else "/lib/systemd/systemd"


class Telling:
    """What one story has come to on one machine."""

    def __init__(self, story, where):
        self.story, self.where = story, where
        self.seconds, self.output, self.fault = 0, "", "not run"

    def take(self, text, made, in_time):
        """Takes in what the machine printed in one boot."""
        name = self.story.name
        part = text.partition(f"-----begin {name}-----\n")[2].partition("-----begin ")[0]
        if not part and "-----begin " in text and "-----end " in text:
            return
        self.output += part or text
        end = re.search(r"^-----end \S+ (\d+) (\d+)-----$", part, re.MULTILINE)
        if end:
            self.seconds += int(end.group(2))
            self.fault = None if end.group(1) == "0" else f"ended with {end.group(1)}"
        elif made.CUT.decode() in part:
            self.fault = None
        else:
            self.fault = "the machine went off before its end" if in_time else "the machine did not come to its end"
            self.output += f"--- console\n{made.screen()[-3000:]}"

    def rows(self):
        return [[self.story.name, *line.split("|")[1:]] for line in self.output.splitlines() if line.startswith("TABLE|")]


def go(where, stories, share, keep):
    """Runs stories on one machine, one after the other in the same boot, and gives what they have come to."""
    tellings = [Telling(story, where) for story in stories]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="boot-test-"))
    try:
        made = (here.Here if where == "here" else Machine)(where, share, folder)
        for number in range(1, max(story.boots for story in stories) + 1):
            text, in_time = made.boot([str(number), *(story.name for story in stories)],
                                      sum(story.limit for story in stories) + 60, stories[0].init)
            for telling in tellings:
                telling.take(text, made, in_time)
            if any(telling.fault for telling in tellings):
                break
    finally:
        if keep:
            kept = keep / f"{where}-{stories[0].name}"
            kept.mkdir(parents=True, exist_ok=True)
            for file in [*folder.glob("output-*"), *folder.glob("console-*")]:
                shutil.copy2(file, kept)
        shutil.rmtree(folder, ignore_errors=True)
    return tellings


def prepare(programs, names, work):
    """What the guests find on the host, by the name of their machine."""
    shares = {}
    for name in names:
        machine.build(name, say)
        share = work / name
        checkout = share / "checkout"
        for part in "deploy", "samples", "scripts":
            shutil.copytree(machine.CHECKOUT / part, checkout / part, symlinks=True)
        shutil.copytree(STORIES, share / "stories")
        for file in "tell", "lib.sh":
            shutil.copy2(machine.HERE / file, share / file)
        programs.put(name, checkout)
        shares[name] = share
    return shares


def skip_reason(name):
    """Why no machine can be booted here; None where one can."""
    if os.geteuid() != 0:
        return "roots can only be made by root"
    installed = subprocess.run([machine.CHECKOUT / "scripts" / "install-deps.sh", *NEEDED], stdout=subprocess.DEVNULL)
    if installed.returncode or not all(map(shutil.which, ["linux.uml", "debootstrap", "mke2fs", "patchelf"])):
        return f"{', '.join(NEEDED)} could not be installed"
    try:
        machine.build(name, say)
    except Failure as failure:
        return f"no root could be made: {failure}"
    return here.cannot_boot() if name == "here" else machine.cannot_boot(name)


def say(text):
    print(f"boot-test: {text}", flush=True)


def show(rows):
    widths = [max(len(row[column]) for row in [HEADINGS, *rows]) for column in range(len(HEADINGS))]
    for row in [HEADINGS, *rows]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")
        if row is HEADINGS:
            print("| " + " | ".join("-" * width for width in widths) + " |")


def main():
    known = {story.name: story for story in map(Story, sorted(STORIES.glob("*.sh")))}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=pathlib.Path, default=machine.CHECKOUT / ".build" / "dist")
    parser.add_argument("--story", nargs="+", choices=known, metavar="NAME", help="only these")
    parser.add_argument("--machine", nargs="+", choices=MACHINES, metavar="NAME", help="only on these")
    parser.add_argument("--quick", action="store_true", help="one boot with " + ", ".join(QUICK[1]))
    parser.add_argument("--jobs", type=int, default=max(1, min(4, os.cpu_count() or 1)), help="machines at a time")
    parser.add_argument("--keep-output", type=pathlib.Path, metavar="DIR", help="what the machines printed, also of good ones")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        for story in known.values():
            print(f"{story.name:20} {story.about} ({', '.join(story.machines)})")
        return 0
    if options.quick:
        runs = [(QUICK[0], [known[name] for name in QUICK[1]])]
        # What only this machine's own kernel has.
        runs += [("here", [known["isolation"]])] if os.geteuid() == 0 and here.cannot_boot() is None else []
    else:
        runs = [(where, [known[name]]) for name in options.story or known for where in known[name].machines
                if not options.machine or where in options.machine]
    if not runs:
        say("none of these stories runs on these machines")
        return 64
    reason = skip_reason(runs[0][0])
    if reason:
        say(f"{'SKIPPED, because ' if options.quick else ''}{reason}")
        return 77 if options.quick else 1

    began, tellings, futures = time.monotonic(), [], []
    work = pathlib.Path(tempfile.mkdtemp(prefix="boot-test-"))
    try:
        shares = prepare(Programs(options.programs.resolve()), dict.fromkeys(where for where, _ in runs), work)
        pool = concurrent.futures.ThreadPoolExecutor(options.jobs)
        futures += [pool.submit(go, where, stories, shares[where], options.keep_output) for where, stories in runs]
        for future in concurrent.futures.as_completed(futures):
            for telling in future.result():
                tellings.append(telling)
                say(f"{telling.story.name} on {telling.where}: {telling.fault or 'passed'}, {telling.seconds} s")
                if telling.fault and telling.output:
                    print(telling.output, flush=True)
    except Failure as failure:
        say(failure)
        return 1
    finally:
        # A second Ctrl-C must leave nothing behind. The threads of an interrupted run find their machines switched off.
        for number in signal.SIGINT, signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
        for future in futures:
            future.cancel()
        for group in list(Machine.running):
            Machine.kill(group)
        shutil.rmtree(work, ignore_errors=True)
    order = list(known)
    rows = sorted((row for telling in tellings for row in telling.rows()), key=lambda row: (order.index(row[0]), row))
    if rows:
        show(rows)
    failed = sum(1 for telling in tellings if telling.fault)
    say(f"{len(tellings) - failed} passed, {failed} failed, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
