#!/usr/bin/env python3
"""The bot of kill-test.py: numbered packets, numbered log lines, and an answer to every message. The numbers go on over
launches. What it did it writes down itself, in files of the run's folder, so that there is something to compare with.

Arguments: the run's folder, and what the bot contract prescribes.
"""

import json
import os
import pathlib
import queue
import random
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

folder = pathlib.Path(sys.argv[1])
prefix = os.environ["BOT_PACKET_PREFIX"]
launch = f"{os.getpid()}-{time.monotonic_ns()}"
lock = threading.Lock()
waiting = queue.Queue(10_000)
known = set()
is_stopping = threading.Event()
seq = 0
# Nobody reads any more: the supervisor was killed. The bot goes on all the same, as a stubborn program would.
is_deaf = False


def append(name, **fields):
    """Writes a line down before what it speaks of is done."""
    with open(folder / name, "a", encoding="utf-8") as file:
        file.write(json.dumps(fields) + "\n")


def emit(text):
    """One write to standard output."""
    global is_deaf
    try:
        data = text.encode()
        while data:
            data = data[os.write(1, data):]
    except BrokenPipeError:
        is_deaf = True


def send(kind, **fields):
    """One packet behind the launch's prefix."""
    global seq
    with lock:
        seq += 1
        emit(prefix + json.dumps({"v": 1, "seq": seq, "ts": int(time.time() * 1000), "type": kind, **fields}) + "\n")


class Chat(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=None):
        data = json.dumps(body or {}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.answer(200, {"ok": True, "state": "idle", "open_turns": 0})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.headers.get("Authorization") != f"Bearer {os.environ['BOT_CHAT_TOKEN']}":
            return self.answer(401)
        message = json.loads(body)
        with lock:
            if message["message_id"] in known:
                return self.answer(200, {"duplicate": True})
            if is_stopping.is_set():
                return self.answer(503)
            known.add(message["message_id"])
            append("taken.jsonl", launch=launch, message_id=message["message_id"], text=message["message"])
        waiting.put(message)
        self.answer(202, {"queued": True})

    def log_message(self, *_):
        pass


def talk():
    """Answers messages one at a time."""
    while True:
        message = waiting.get()
        turn = {"conversation_id": message["conversation_id"], "message_id": message["message_id"],
                "turn_id": "turn-" + message["message_id"]}
        send("user_message", text=message["message"], **turn)
        time.sleep(random.uniform(0, 0.15))
        send("assistant_message", text="answer to " + message["message"], final=True, **turn)


def leave(code, first):
    """Writes down how far the numbers came in this launch, and ends."""
    with lock:
        append("launches.jsonl", launch=launch, first=first, last=number, code=code)
        os._exit(code)


for signal_number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(signal_number, lambda *_: is_stopping.set())
server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("BOT_CHAT_PORT", "0"))), Chat)
threading.Thread(target=server.serve_forever, daemon=True).start()
threading.Thread(target=talk, daemon=True).start()

counter = folder / "number"
number = int(counter.read_text()) if counter.exists() else 0
first = number + 1
append("starts.jsonl", launch=launch, pid=os.getpid(), first=first)
send("ready", chat_url=f"http://127.0.0.1:{server.server_port}/chat", pid=os.getpid())
while not is_stopping.is_set():
    if (folder / "quiet").exists():
        is_stopping.wait(0.05)
        if not (folder / "silent").exists():
            append("launches.jsonl", launch=launch, first=first, last=number, code=None)
            (folder / "silent").touch()
        continue
    order = folder / "exit"
    if order.exists():
        code = int(order.read_text())
        order.unlink()
        leave(code, first)
    for _ in range(random.choice((1, 1, 1, 5, 40))):
        number += 1
        # Renamed, not rewritten: whoever is killed here leaves the number before or this one. A number is used up
        # before it is printed, so that none is printed twice.
        part = folder / "number.part"
        part.write_text(str(number))
        part.rename(counter)
        send("tick", n=number)
        with lock:
            emit(f"line {number} of {launch}, " + "x" * random.randrange(200) + "\n")
    is_stopping.wait(0.02)
leave(0, first)
