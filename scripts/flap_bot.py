#!/usr/bin/env python3
"""The bot of flap.py: emits numbered packets and log lines until a file named `quiet` appears, then says how many packets
there were. Arguments: the run's folder, how many packets to emit at once, and what the bot contract prescribes."""

import json
import os
import pathlib
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

folder = pathlib.Path(sys.argv[1])
at_once = int(sys.argv[2])
prefix = os.environ["BOT_PACKET_PREFIX"]
is_stopping = threading.Event()
seq = 0


def send(kind, **fields):
    """One packet on standard output, behind the launch's prefix."""
    global seq
    seq += 1
    sys.stdout.write(prefix + json.dumps({"v": 1, "seq": seq, "type": kind, **fields}) + "\n")
    sys.stdout.flush()


for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: is_stopping.set())


class Health(BaseHTTPRequestHandler):
    """Nobody talks to this bot, but it is asked how it is."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", int(os.environ.get("BOT_CHAT_PORT", "0"))), Health)
threading.Thread(target=server.serve_forever, daemon=True).start()
send("ready", chat_url=f"http://127.0.0.1:{server.server_port}/chat", pid=os.getpid())
ticks = 0
while not is_stopping.is_set() and not (folder / "quiet").exists():
    ticks += 1
    send("tick", n=ticks, filler="x" * 200)
    for line in range(3):
        print(f"log line {line} of tick {ticks}, long enough to be worth a look at")
    sys.stdout.flush()
    if ticks >= at_once:
        is_stopping.wait(0.05)
part = folder / "emitted.part"
part.write_text(str(ticks))
part.rename(folder / "emitted")
is_stopping.wait()
