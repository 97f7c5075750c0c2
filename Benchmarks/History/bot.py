#!/usr/bin/env python3
"""A bot that answers each message at once with the clock it had it at, and the clock it answered at."""

import http.server
import json
import os
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


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        taken = time.monotonic_ns()
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        # Behind the agent's word that the message was taken, so that the way of the packet is its own.
        threading.Timer(0.05, self.answer, [message, taken]).start()

    @staticmethod
    def answer(message, taken):
        packet("assistant_message", text=f"{taken} {time.monotonic_ns()}", final=True, message_id=message["message_id"],
               conversation_id=message["conversation_id"], turn_id=message["message_id"])

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = http.server.ThreadingHTTPServer((os.environ["BOT_CHAT_HOST"], int(os.environ["BOT_CHAT_PORT"])), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
packet("ready", chat_url=f"http://127.0.0.1:{server.server_address[1]}/chat", pid=os.getpid(), engine="bench",
       engine_version="1")
while True:
    signal.pause()
