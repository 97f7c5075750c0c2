#!/usr/bin/env python3
"""What the native runtime costs. PARTS picks from those below (default: all), JSON=1 prints one JSON object a part."""

import json
import os
import sys

import idle_bots
import log_capture
import packet_path

PARTS = {"idle-bots": idle_bots, "log-capture": log_capture, "packet-path": packet_path}


def main():
    wanted = os.environ.get("PARTS", " ".join(PARTS)).split()
    for name in wanted:
        if name not in PARTS:
            sys.exit(f"bench-runtime: no part {name}; there are: {' '.join(PARTS)}")
    for name in wanted:
        result = PARTS[name].run()
        if os.environ.get("JSON") == "1":
            print(json.dumps({"part": name, **result}), flush=True)
        else:
            PARTS[name].show(result)
            print(flush=True)


main()
