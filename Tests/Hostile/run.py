#!/usr/bin/env python3
"""Attacks real programs as a node, a bot, an operator or a stranger would, and tells what held. Run it by `make hostile-test`.

Each file in `parts/` is one kind of attacker, with a hub, an agent and bots of its own on loopback. Prints a line for each
attack and ends with 1 if one succeeded. BROKEN=NAME[,NAME] switches single defences of the (debug) programs off, and the
attacks that they should stop must then succeed; --prove does so for one defence after the other, and ends with 1 where
an attack is not noticed.
"""

import argparse
import importlib
import os
import pathlib
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "API"), str(HERE.parent / "Conformance")]

PARTS = [file.stem for file in sorted((HERE / "parts").glob("*.py"))]


def tell(row):
    mark = "held  " if row.outcome.held else "BROKEN"
    print(f"hostile: {mark} {row.attack.part}: {row.attack.tried}: {row.outcome.seen} ({row.seconds:.1f} s)", flush=True)


def carry_out(part, programs, chosen, without, tell=tell):
    """The rows of one part, on a stage of its own."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"hostile-{part.name}-"))
    environment = {"TEST_WITHOUT_DEFENCES": ",".join(without)} if without else {}
    stage = part.stage(programs, folder, environment)
    try:
        stage.begin()
        return part.carry_out(stage, chosen, tell)
    finally:
        stage.strike()


def prove(parts, programs, quick):
    """Carries out each attack without the defence against it, on a stage of its own; gives those that nothing showed of."""
    unseen = []
    for part in parts:
        for attack in part.attacks:
            if not attack.defence or (quick and not attack.quick):
                continue
            row, = carry_out(part, programs, [attack], [attack.defence])
            if row.outcome.held:
                unseen.append(f"without {attack.defence}: {attack.tried}")
    return unseen


def table(parts, programs):
    """What each attack comes to with all defences, and without its own."""
    print("| attack | stopped by | with it | without it |\n| --- | --- | --- | --- |")
    for part in parts:
        rows = {row.attack.tried: row for row in carry_out(part, programs, part.attacks, [], lambda row: None)}
        bare = {}
        for defence in dict.fromkeys(attack.defence for attack in part.attacks if attack.defence):
            chosen = [attack for attack in part.attacks if attack.defence == defence]
            for row in carry_out(part, programs, chosen, [defence], lambda row: None):
                bare[row.attack.tried] = row
        for tried, row in rows.items():
            without = bare[tried].outcome.seen if tried in bare else ""
            cells = tried, row.attack.defence or "", row.outcome.seen, without
            print("| " + " | ".join(cell.replace("|", " ").replace("\n", " ")[:70] for cell in cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / ".build" / "debug")
    parser.add_argument("--quick", action="store_true", help="only what takes seconds")
    parser.add_argument("--prove", action="store_true", help="show that each attack would be noticed")
    parser.add_argument("--table", action="store_true", help="what each attack comes to with and without its defence")
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    options = parser.parse_args()
    programs = options.programs.resolve()
    without = [name for name in os.environ.get("BROKEN", "").split(",") if name]
    began = time.monotonic()
    parts = [importlib.import_module(f"parts.{name}").part for name in options.only]
    if options.table:
        return table(parts, programs)
    if options.prove:
        unseen = prove(parts, programs, options.quick)
        for line in unseen:
            print(f"hostile: NOT NOTICED {line}")
        print(f"hostile: {len(unseen)} attacks not noticed, {time.monotonic() - began:.0f} s")
        sys.exit(1 if unseen else 0)
    rows = []
    for part in parts:
        chosen = [attack for attack in part.attacks if attack.quick or not options.quick]
        if chosen:
            rows += carry_out(part, programs, chosen, without)
    broken = [row for row in rows if not row.outcome.held]
    # Once more at the end, where somebody who sees only the end of a long log finds them.
    for row in broken:
        tell(row)
    print(f"hostile: {len(rows) - len(broken)} of {len(rows)} attacks held off, {time.monotonic() - began:.0f} s")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
