#!/usr/bin/env python3
"""A bot whose turns end when they are told to: a message `wait for PATH` is answered once there is a file at that path.
It does nothing with its workspace."""

import http.server
import json
import os
import pathlib
import signal
import sys
import threading
import time

prefix, lock = os.environ["BOT_PACKET_PREFIX"], threading.Lock()
sent = 0


def packet(kind, **fields):
    global sent
    with lock:
        sent += 1
        head = {"v": 1, "seq": sent, "ts": int(time.time() * 1000), "bot_id": os.environ["BOT_ID"], "type": kind}
        print(prefix + json.dumps(head | fields), flush=True)


def turn(message):
    names = {"conversation_id": message["conversation_id"], "message_id": message["message_id"],
             "turn_id": message["message_id"]}
    packet("user_message", text=message["message"], **names)
    path = pathlib.Path(message["message"].removeprefix("wait for "))
    while not path.exists():
        time.sleep(0.005)
    packet("assistant_message", text="there it is", final=True, **names)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        allowed = self.headers.get("Authorization") == f"Bearer {os.environ['BOT_CHAT_TOKEN']}"
        self.send_response(202 if allowed else 403)
        self.send_header("Content-Length", "0")
        self.end_headers()
        if allowed:
            threading.Thread(target=turn, args=[json.loads(body)], daemon=True).start()

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = http.server.ThreadingHTTPServer((os.environ["BOT_CHAT_HOST"], int(os.environ["BOT_CHAT_PORT"])), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
packet("ready", chat_url=f"http://127.0.0.1:{server.server_address[1]}/chat", pid=os.getpid(), engine="bench",
       engine_version="1")
while True:
    signal.pause()
