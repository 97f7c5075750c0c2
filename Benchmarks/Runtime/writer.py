#!/usr/bin/env python3
"""Writes to standard output as fast as it is taken, and how fast that was into a file.

writer.py FILE lines BYTES      lines of 200 bytes
writer.py FILE packets COUNT    monitor packets of about 250 bytes
"""

import json
import os
import pathlib
import sys
import time

result, kind, amount = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
prefix = os.environ.get("BOT_PACKET_PREFIX", "")


def put(data):
    view = memoryview(data)
    while view:
        view = view[os.write(1, view):]


def packets(first, count):
    """So many packets, numbered from `first`."""
    lines = (prefix + json.dumps({"v": 1, "seq": n, "ts": 1795000000000, "type": "progress", "conversation_id": "c1",
                                  "message_id": "m1", "turn_id": "t1", "text": f"step {n} " + "x" * 120}) + "\n"
             for n in range(first, first + count))
    return "".join(lines).encode()


if kind == "lines":
    block = (b"x" * 199 + b"\n") * 5000
    blocks = [block] * (amount // len(block))
else:
    # Made before the clock starts: what is measured is who takes them.
    blocks = [packets(first, 1000) for first in range(1, amount, 1000)]
while pathlib.Path(f"{result}.hold").exists():
    time.sleep(0.01)
begin = time.monotonic()
for each in blocks:
    put(each)
seconds = time.monotonic() - begin
part = result.with_suffix(".part")
part.write_text(json.dumps({"bytes": sum(map(len, blocks)), "seconds": seconds, "began": begin}))
part.rename(result)
time.sleep(float(os.environ.get("LINGER", "3600")))
