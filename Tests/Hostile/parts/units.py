"""The prisoner of the part isolation where the service manager keeps openat2 from everybody, as the shipped units do.

What bots ask their supervisors to do then takes another way. Everything about files' modes, times and attributes is tried again,
and that a bot can do its ordinary work.
"""

import dataclasses
import pathlib
import sys

from attack import Part
from parts import isolation

FILTERED = pathlib.Path(__file__).resolve().parents[1] / "filtered.py"
WORDS = "mode", "times", "attributes", "link", "ordinary", "state directory"


class Units(isolation.Isolation):
    def plain(self, arguments):
        if arguments[0] != self.agent_program:
            return arguments
        return [sys.executable, str(FILTERED), *super().plain(arguments)]


part = Part("units", Units)
part.attacks = [dataclasses.replace(attack, part=part.name) for attack in isolation.part.attacks
                if any(word in attack.tried for word in WORDS)]
