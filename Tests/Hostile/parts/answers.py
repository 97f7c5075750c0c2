"""Nodes that answer a question for a file with more or less than they announced.

What must hold: what a node sends is never taken for the answer to another request, neither by a client that keeps its connection
nor by a proxy that shares one among many.
"""

import hashlib
import re
import socket
import threading

from attack import Part, judge
from node import DATA, END, OPEN, Node, enroll
from protobuf import decode, encode, message
from stage import Stage

EVIL = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 7\r\n\r\n<evil/>"


class Answers(Stage):
    def __init__(self, programs, folder, environment):
        super().__init__(programs, folder)
        self.environment |= environment
        self.size, self.parts = 0, []

    def begin(self):
        self.raise_hub()
        self.admin = self.operator("the-admin", "admin")["token"]
        identity = enroll(self, self.admin, "liar")
        self.bot = self.send("POST", "/api/bots", token=self.admin,
                             body={"name": "liar", "node_id": identity["node_id"]}).json["id"]
        self.node = Node(self.address, identity["token"])
        self.node.hello(identity["node_id"])
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        try:
            self.lie()
        except OSError:
            pass  # the stage is struck

    def lie(self):
        for kind, stream, payload in self.node.messages(600):
            if kind == OPEN and 4 in decode(payload):
                self.node.send(DATA, stream, message(2, encode((1, "f"), (2, 1), (3, 0o644), (4, self.size), (6, "tag"))))
                offset = 0
                for part in self.parts:
                    self.node.send(DATA, stream, message(4, encode((1, offset), (2, part), (3, hashlib.sha256(part).digest()))))
                    offset += len(part)
                self.node.send(END, stream, b"")

    def strike(self):
        self.node.close()
        super().strike()


part = Part("answers", Answers)


def two_requests(stage, size, parts, more=""):
    """What comes on one connection after the first answer's announced bytes, when a second request follows."""
    stage.size, stage.parts = size, parts
    with socket.create_connection(stage.address, 10) as connection:
        head = f"Host: hub\r\nAuthorization: Bearer {stage.admin}\r\n"
        # Pipelined: the second is answered after the first, or the connection is closed.
        connection.sendall(f"GET /api/bots/{stage.bot}/workspace/f HTTP/1.1\r\n{head}{more}\r\n"
                           f"GET /api/version HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())
        said = b""
        try:
            while more_said := connection.recv(65536):
                said += more_said
        except OSError:
            pass
    first, _, rest = said.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: (\d+)", first).group(1))
    return rest[:length], rest[length:]


def is_apart(body, after):
    """Nothing of the node's stands where the next answer stands, and nothing of that in the file."""
    return b"evil" not in after and b"HTTP/1.1" not in body and (not after or after.startswith(b"HTTP/1.1 200"))


def lie(tried, size, parts, more=""):
    @part.attack(f"a file {tried}")
    def answer(stage):
        body, after = two_requests(stage, size, parts, more)
        return judge(is_apart(body, after), f"{len(body)} bytes of file, then {after[:24]!r}" if after else f"{len(body)} bytes, then closed")
    return answer


lie("with an HTTP answer behind its announced end", 5, [b"hello" + EVIL])
lie("with an HTTP answer in another part behind its end", 5, [b"hello", EVIL])
lie("that is empty and goes on", 0, [EVIL])
lie("of which a range was asked for and all comes", 5, [b"hello" + EVIL], "Range: bytes=0-1\r\n")
lie("that ends before it was announced to", 4000, [b"hello"])
