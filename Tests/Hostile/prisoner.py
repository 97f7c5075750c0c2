"""A bot that carries out whatever is put into its workspace as `order.py`, and tells in `answer.json` what came of it."""

import ctypes
import json
import os
import pathlib
import signal
import socket
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
workspace = pathlib.Path(os.environ["BOT_WORKSPACE"])


def call(number, *arguments):
    """A system call; raises OSError where it fails."""
    value = libc.syscall(number, *(ctypes.c_long(item) if isinstance(item, int) else item for item in arguments))
    if value < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return value


def carry_out(order):
    """What the order leaves in `seen`, or why it came to nothing."""
    names = {"call": call, "libc": libc, "os": os, "socket": socket, "pathlib": pathlib, "ctypes": ctypes,
             "workspace": workspace, "signal": signal, "seen": "done"}
    try:
        exec(order, names)  # noqa: S102: that is what this bot is for
        return {"done": True, "seen": str(names["seen"])[:200]}
    except OSError as fault:
        line = fault.__traceback__.tb_next.tb_lineno if fault.__traceback__.tb_next else 0
        return {"done": False, "seen": fault.strerror or str(fault), "errno": fault.errno, "line": line}
    except Exception as fault:  # noqa: BLE001: the order is at fault and the test must hear of it
        return {"done": False, "seen": f"{type(fault).__name__}: {fault}", "errno": 0}


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("the prisoner is in", flush=True)
while True:
    try:
        order = (workspace / "order.py").read_text()
        (workspace / "order.py").unlink()
        told = json.dumps(carry_out(order))
        (workspace / "answer.new").write_text(told)
        (workspace / "answer.new").rename(workspace / "answer.json")
    except OSError:
        pass
    time.sleep(0.01)
