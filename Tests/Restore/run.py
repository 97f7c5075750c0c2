#!/usr/bin/env python3
"""Copies that are put back, on real programs: a hub's backup, a node's state directory, a cloned disk. Run it by `make restore-test`.

A hub with three nodes and ten bots lives through a number of operations that a seed chooses: bots are made, started, stopped,
deleted, moved, talked to, written to, saved and rolled back, and agents killed. A copy was made before, and is put back after it:

  hub     the hub's backup, by `control-hub restore`
  state   the state directory of one node, copied while its power was off, put back after another cut
  clone   the same copy, on another machine beside the first one (in namespaces; skipped where the user may make none)

Then nothing may run twice or, unsaid, nowhere; every workspace must be somewhere in full, which its history shows, and every
snapshot; and what the records could not know must be said. In the end everything must work again. Prints a table and ends
with 1 where something did not hold.
"""

import argparse
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "API")]

import fleet as fleets  # noqa: E402
from stage import Failure  # noqa: E402
from stories import STORIES  # noqa: E402

HEADINGS = ["form", "seed", "taken", "refused", "workspaces", "running", "snapshots", "said", "seconds", "outcome"]
SKIPPED = 77


def show(rows):
    widths = [max(len(row[column]) for row in [HEADINGS, *rows]) for column in range(len(HEADINGS))]
    for row in [HEADINGS, *rows]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")
        if row is HEADINGS:
            print("| " + " | ".join("-" * width for width in widths) + " |", flush=True)


def carry_out(form, seed, operations, programs, keep):
    """One story; gives its row of the table, and what did not hold."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="restore-test-"))
    began = time.monotonic()
    fleet = fleets.Fleet(programs, folder)
    story = STORIES[form](fleet, random.Random(f"{form} {seed}"), operations)
    try:
        story.run()
    except (Failure, OSError, KeyError, TypeError) as failure:
        story.violations.append(f"could not be carried out: {type(failure).__name__}: {failure}")
    finally:
        fleet.watch.stop()
        broken = [*story.violations, *(f"{bot} ran twice, on {' and '.join(nodes)}: {found}" for (bot, *nodes), found in fleet.watch.doubles.items())]
        if keep and broken:
            kept = keep / f"{form}-{seed}"
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(parents=True)
            (kept / "words.log").write_text(fleet.words())
            for file in [*fleet.folder.glob("*.log"), *fleet.data.glob("hub.sqlite*")]:
                shutil.copy2(file, kept)
        fleet.strike()
    told = story.deeds.told
    return [form, str(seed), str(told["taken"]), str(told.total() - told["taken"]), *story.counts(), f"{time.monotonic() - began:.0f}",
            f"{len(broken)} did not hold" if broken else "held"], broken


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / ".build" / "debug")
    parser.add_argument("--form", nargs="+", choices=STORIES, default=list(STORIES))
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--rounds", type=int, default=3, help="how many seeds; the forms take turns")
    parser.add_argument("--operations", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="one short round of the form hub")
    parser.add_argument("--keep-output", type=pathlib.Path, metavar="DIR", help="logs and database of what did not hold")
    options = parser.parse_args()
    forms, operations, rounds = options.form, options.operations, options.rounds
    if options.quick:
        forms, operations, rounds = ["hub"], 20, 1
    if "clone" in forms and not fleets.can_have_machines():
        print("restore: SKIPPED the clone: this user may make no namespaces, so no second machine can be had", flush=True)
        forms = [form for form in forms if form != "clone"]
    if not forms:
        return SKIPPED
    rows, failed = [], 0
    for number in range(rounds):
        form, seed = forms[number % len(forms)], options.seed + number
        row, broken = carry_out(form, seed, operations, options.programs.resolve(), options.keep_output)
        rows.append(row)
        failed += bool(broken)
        print(f"restore: {form}, seed {seed}: {row[-1]}, {row[-2]} s", flush=True)
        for each in broken:
            print(f"restore:   {each}", flush=True)
    show(rows)
    if failed:
        print(f"restore: {failed} of {len(rows)} did not hold; again by --form NAME --seed N --rounds 1 --keep-output DIR", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    # What was begun is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
