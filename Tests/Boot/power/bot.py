#!/usr/bin/env python3
"""The bot of power.py: numbered packets and log lines as fast as they are taken, and an answer to every message.
Arguments: what the bot contract prescribes."""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

prefix = os.environ["BOT_PACKET_PREFIX"]
launch = f"{int(time.time() * 1000)}-{os.getpid()}"
lock = threading.Lock()
is_stopping = threading.Event()
seq = 0


def emit(text):
    data = text.encode()
    while data:
        data = data[os.write(1, data):]


def send(kind, **fields):
    """One packet behind the launch's prefix."""
    global seq
    with lock:
        seq += 1
        emit(prefix + json.dumps({"v": 1, "seq": seq, "type": kind, **fields}) + "\n")


class Chat(BaseHTTPRequestHandler):
    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.answer(200, {"ok": True, "state": "idle", "open_turns": 0})

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(202, {"queued": True})
        turn = {key: message[key] for key in ("conversation_id", "message_id")}
        send("assistant_message", text="answer to " + message["message"], final=True, turn_id="turn-" + message["message_id"], **turn)

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, lambda *_: is_stopping.set())
server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["BOT_CHAT_PORT"])), Chat)
threading.Thread(target=server.serve_forever, daemon=True).start()
send("ready", pid=os.getpid())
number = 0
# A launch of the others has nothing to say.
is_quiet = "quiet" in json.load(open(sys.argv[sys.argv.index("--config") + 1], encoding="utf-8"))
while not is_stopping.is_set():
    if is_quiet:
        is_stopping.wait(1)
        continue
    for _ in range(4):
        number += 1
        send("tick", n=number, launch=launch)
        with lock:
            emit(f"line {number} of {launch}\n")
    is_stopping.wait(0.05)
