"""A node that obeys nobody: speaks the protocol of docs/protocol.md over plain WebSocket, and sends whatever it is told to."""

import base64
import json
import os
import socket
import struct
import time

from protobuf import decode, encode, integer, message

OPEN, DATA, WINDOW, END, RESET, GOAWAY = 1, 2, 3, 4, 5, 6
MORE = 0x01
MAX_PAYLOAD = 16384
PACKETS = 1


def now_ms():
    return time.time_ns() // 1_000_000


def enroll(stage, admin, name):
    """Pairs a node that is only a name and a token."""
    code = stage.send("POST", "/api/enrollments", token=admin, body={}).json["code"]
    answer = stage.send("POST", "/edge/v1/enroll", body={"code": code, "request_id": os.urandom(16).hex(), "name": name})
    if answer.status not in (200, 201):
        raise OSError(f"pairing {name}: {answer.status} {answer.body!r}")
    return answer.json


def upgrade_request(token, host="hub"):
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ["GET /edge/v1/connect HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
             f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: edge.v1"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Refused(OSError):
    """The hub answered the upgrade with something else than 101."""

    def __init__(self, head):
        super().__init__(head.split(b"\r\n")[0].decode(errors="replace"))
        self.status = int(head.split()[1])


class Node:
    """One connection. Blocking; `closed` holds the close code once the hub has closed."""

    def __init__(self, address, token, timeout=10, source=None):
        self.socket = socket.create_connection(address, timeout, source_address=(source, 0) if source else None)
        self.buffer = b""
        self.closed = None
        self.parts = {}
        self.socket.sendall(upgrade_request(token))
        while b"\r\n\r\n" not in self.buffer:
            part = self.socket.recv(65536)
            if not part:
                raise Refused(self.buffer or b"HTTP/1.1 000 closed")
            self.buffer += part
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise Refused(head)

    # WebSocket, as a client

    def send_bytes(self, data, opcode=2):
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index & 3] for index, byte in enumerate(data)) if len(data) < 4096 else self.mask(data, mask)
        if len(data) < 126:
            head = struct.pack(">BB", 0x80 | opcode, 0x80 | len(data))
        elif len(data) < 65536:
            head = struct.pack(">BBH", 0x80 | opcode, 0xFE, len(data))
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 0xFF, len(data))
        self.socket.sendall(head + mask + masked)

    @staticmethod
    def mask(data, mask):
        size = len(data)
        whole = int.from_bytes(data, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        return whole.to_bytes(size, "big")

    def need(self, count):
        while len(self.buffer) < count:
            part = self.socket.recv(262144)
            if not part:
                raise ConnectionResetError("the hub has closed the connection")
            self.buffer += part
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def receive(self, seconds=10):
        """The next binary message; None once the hub has closed. Answers pings. Raises TimeoutError."""
        self.socket.settimeout(seconds)
        while True:
            try:
                first, second = self.need(2)
                length = second & 0x7F
                if length == 126:
                    length, = struct.unpack(">H", self.need(2))
                elif length == 127:
                    length, = struct.unpack(">Q", self.need(8))
                data = self.need(length)
            except (ConnectionResetError, BrokenPipeError):
                self.closed = self.closed or 1006
                return None
            match first & 0x0F:
                case 8:
                    self.closed = struct.unpack(">H", data[:2])[0] if len(data) >= 2 else 1005
                    return None
                case 9:
                    self.send_bytes(data, opcode=10)
                case 2:
                    return data

    def close(self):
        self.socket.close()

    # The node protocol

    @staticmethod
    def frame(kind, stream, payload=b"", flags=0):
        return struct.pack(">BBHI", kind, flags, len(payload), stream) + payload

    def send(self, kind, stream, payload):
        """A mux message of any length, in frames of at most 16 KiB."""
        pieces = [payload[start:start + MAX_PAYLOAD] for start in range(0, len(payload), MAX_PAYLOAD)] or [b""]
        for index, piece in enumerate(pieces):
            last = index == len(pieces) - 1
            self.send_bytes(self.frame(kind if index == 0 else DATA, stream, piece, 0 if last else MORE))

    def messages(self, seconds=10):
        """What the hub says: (kind, stream, payload), until it closes or says nothing for so long."""
        while True:
            try:
                data = self.receive(seconds)
            except TimeoutError:
                return
            if data is None:
                return
            yield from self.whole(data)

    def whole(self, data):
        """The mux messages that end in this WebSocket message: (kind, stream, payload)."""
        while data:
            kind, flags, length, stream = struct.unpack(">BBHI", data[:8])
            payload, data = data[8:8 + length], data[8 + length:]
            if kind in (OPEN, DATA):
                payload = self.parts.pop(stream, b"") + payload
                if flags & MORE:
                    self.parts[stream] = payload
                    continue
            yield kind, stream, payload

    def hello(self, node_id, *more, **fields):
        """Says hello and waits to be welcomed; gives the Welcome's fields, or None where the hub would not have it."""
        told = {1: 1, 2: 1, 3: node_id, 4: os.urandom(8).hex(), 7: "hostile", 8: "linux", 12: "hostile", 16: "journal-1",
                18: now_ms(), **{int(name[1:]): value for name, value in fields.items()}}
        body = encode(*sorted(told.items())) + message(15, encode((1, "default"), (2, "native"), (4, 1)))
        self.send(DATA, 0, message(1, body + b"".join(more)))
        for kind, stream, payload in self.messages():
            if kind == DATA and stream == 0 and 2 in (said := decode(payload)):
                self.heartbeat(1)
                return decode(said[2][0])
        return None

    def heartbeat(self, sequence, **fields):
        told = {1: sequence, 2: now_ms(), **{int(name[1:]): value for name, value in fields.items()}}
        self.send(DATA, 0, message(3, encode(*sorted(told.items()))))

    def open_packets(self):
        self.send(OPEN, PACKETS, message(2, encode((1, "journal-1"))))

    def packet(self, bot, sequence, kind="note", body=None, at=None):
        body = json.dumps({"type": kind}).encode() if body is None else body
        self.send(DATA, PACKETS, message(1, encode((1, bot), (2, sequence), (3, "launch-1"), (5, kind),
                                                   (10, now_ms() if at is None else at), (11, body))))
