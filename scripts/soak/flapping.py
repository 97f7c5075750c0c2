"""The link that is cut every few seconds (scripts/flap.py), as a part of the soak."""

import json
import os
import subprocess
import sys

from bench import CHECKOUT


def run(options):
    """One row for each figure that must stay flat; healthy when all did and no packet was lost."""
    command = [sys.executable, str(CHECKOUT / "scripts" / "flap.py"), "--seconds", str(int(options.seconds))]
    if options.scale > 1:
        # Too short to say anything about memory.
        command.append("--no-verdict")
    programs = {
        "CONTROL_HUB": str(options.binaries / "control-hub"), "EDGE_AGENT": str(options.binaries / "edge-agent")}
    result = subprocess.run(command, env=os.environ | programs | {"JSON": "1"}, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.stderr.write(result.stdout + result.stderr)
        return "flapping: failed; its output is above", [], False
    outcome = json.loads(result.stdout.splitlines()[-1])
    title = (f"A link cut {outcome['cuts']} times in {outcome['seconds']} s: {outcome['packets']} packets, all in the hub,"
             " once and in order; memory after the warm-up and at the end:")
    return title, outcome["figures"], True
