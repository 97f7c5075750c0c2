"""A hub that obeys nobody: lets one agent in over plain WebSocket, and asks of it whatever it is told to."""

import base64
import hashlib
import os
import socket
import struct

from node import DATA, END, OPEN, RESET, Node, now_ms
from protobuf import decode, encode, message

DONE, FAILED = 1, 2


class Hub:
    """Listens on loopback; `session` waits for the agent."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def session(self):
        """The next session, welcomed."""
        while True:
            connection, _ = self.listener.accept()
            try:
                return Session(connection)
            except ConnectionError:
                continue  # something else than the agent's upgrade

    def close(self):
        self.listener.close()


class Session(Node):
    """The hub's end of a connection, with everything of a node's end that is the same."""

    def __init__(self, connection):
        self.socket, self.buffer, self.closed, self.parts = connection, b"", None, {}
        connection.settimeout(10)
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self.need_some()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        key = next((value for name, value in fields.items() if name.lower() == b"sec-websocket-key"), None)
        if key is None:
            connection.close()
            raise ConnectionError("no upgrade")
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
        connection.sendall(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: edge.v1\r\n\r\n").encode())
        self.stream = 0
        for kind, stream, payload in self.messages():
            if kind == DATA and stream == 0 and 1 in (said := decode(payload)):
                hello = decode(said[1][0])
                break
        limits = encode((1, 1 << 20), (2, 64), (3, 1000))
        self.send(DATA, 0, message(2, encode((1, 1), (2, hello.get(3, [b"node"])[0]), (3, "node"), (4, 1), (5, 15000),
                                             (6, 30000), (7, 45000), (8, now_ms()), (9, "hostile"), (10, limits))))

    def need_some(self):
        part = self.socket.recv(65536)
        if not part:
            raise ConnectionError("the agent closed")
        return part

    def send_bytes(self, data, opcode=2):
        size = len(data)
        head = (struct.pack(">BB", 0x80 | opcode, size) if size < 126 else struct.pack(">BBH", 0x80 | opcode, 126, size)
                if size < 65536 else struct.pack(">BBQ", 0x80 | opcode, 127, size))
        self.socket.sendall(head + data)

    def receive(self, seconds=10):
        self.socket.settimeout(seconds)
        while True:
            try:
                first, second = self.need(2)
                length = second & 0x7F
                if length == 126:
                    length, = struct.unpack(">H", self.need(2))
                elif length == 127:
                    length, = struct.unpack(">Q", self.need(8))
                mask = self.need(4)
                data = self.mask(self.need(length), mask)
            except (ConnectionResetError, BrokenPipeError):
                return None
            if first & 0x0F == 8:
                return None
            if first & 0x0F == 9:
                self.send_bytes(data, opcode=10)
            elif first & 0x0F == 2:
                return data

    def ask(self, header, *then, seconds=20):
        """Opens a stream and gives what the agent says on it, message by message, until it is quiet or ends."""
        self.stream += 2
        own = self.stream
        self.send(OPEN, own, header)
        for part in then:
            self.send(DATA, own, part)
        for kind, stream, payload in self.messages(seconds):
            if stream != own:
                continue
            if kind == DATA:
                yield payload
            if kind in (END, RESET):
                return

    def command(self, body):
        """Gives (outcome, code, words) of a command; `body` is the field of its kind, encoded."""
        head = encode((1, f"cmd_{os.urandom(8).hex()}"))
        for payload in self.ask(message(1, head + body)):
            result = decode(payload)
            text = [(result.get(number) or [b""])[0].decode() for number in (3, 4)]
            return result.get(2, [0])[0], *text, result
        raise OSError("the agent gave no answer")

    def start_bot(self, bot, profile="default", environment=None, config="{}"):
        variables = b"".join(message(6, encode((1, name), (2, value))) for name, value in (environment or {}).items())
        plan = encode((1, bot), (2, "hostile"), (3, profile), (4, 1), (5, config)) + variables
        return self.command(message(3, message(1, plan)))
