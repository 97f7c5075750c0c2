"""How an attack is written down: what is tried, which defence should stop it, and what was seen.

An attack is a function that takes the stage of its part and gives back `held(…)` or `broke(…)`, with a few words on what was
seen. Anything it raises counts as broken too: an attack that cannot be carried out shows nothing.
"""

import dataclasses
import time


@dataclasses.dataclass
class Outcome:
    held: bool
    seen: str


def held(seen):
    return Outcome(True, seen)


def broke(seen):
    return Outcome(False, seen)


def judge(is_held, seen):
    return Outcome(bool(is_held), seen)


@dataclasses.dataclass
class Attack:
    part: str
    tried: str
    run: object
    # The name that BROKEN takes, see Sources/WireFormat/Defence.swift; None where no single switch could take it away.
    defence: str | None
    quick: bool


@dataclasses.dataclass
class Row:
    attack: Attack
    outcome: Outcome
    seconds: float


class Part:
    """Attacks of one kind, carried out in the order they are written, on one stage.

    `stage` makes it: a function of the folder for the built programs, a folder to work in and the environment that the
    programs get. What it gives must have `begin()`, which starts them, and `strike()`, which ends all that was begun.
    """

    def __init__(self, name, stage):
        self.name, self.stage, self.attacks = name, stage, []

    def attack(self, tried, defence=None, quick=True):
        def add(function):
            self.attacks.append(Attack(self.name, tried, function, defence, quick))
            return function
        return add

    def carry_out(self, stage, chosen, tell):
        rows = []
        for attack in chosen:
            began = time.monotonic()
            try:
                outcome = attack.run(stage)
            except Exception as fault:  # noqa: BLE001: whatever went wrong, nothing was shown
                outcome = broke(f"could not be carried out: {type(fault).__name__}: {fault}")
            rows.append(Row(attack, outcome, time.monotonic() - began))
            tell(rows[-1])
        return rows
