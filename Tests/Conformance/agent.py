#!/usr/bin/env python3
"""A small agent, written from docs/protocol.md alone, with a public WebSocket library.

Pairs with a one-time code, says hello, keeps the heartbeat, sends one packet (of a bot that nobody has made, so that it is
acknowledged and not kept) and waits for its acknowledgement, answers one command, and leaves when the hub sends GOAWAY or closes. Prints one JSON object a line for each thing that happened,
so that a test can follow. It is no part of the product: it shows that the document is enough.
"""

import argparse
import asyncio
import json
import os
import ssl
import struct
import time
import urllib.request

import websockets

from protobuf import decode, encode, integer, message, text

OPEN, DATA, WINDOW, END, RESET, GOAWAY = 1, 2, 3, 4, 5, 6
MORE = 0x01
MAX_PAYLOAD = 16384


def report(event: str, **details) -> None:
    print(json.dumps({"event": event, **details}), flush=True)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def frame(kind: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack(">BBHI", kind, flags, len(payload), stream) + payload


def frames(data: bytes):
    """The whole frames that a WebSocket message holds."""
    while data:
        kind, flags, length, stream = struct.unpack(">BBHI", data[:8])
        yield kind, flags, stream, data[8 : 8 + length]
        data = data[8 + length :]


def enroll(hub: str, code: str, context: ssl.SSLContext) -> dict:
    body = json.dumps({"code": code, "request_id": os.urandom(16).hex(), "name": "conformance"}).encode()
    request = urllib.request.Request(
        hub + "/edge/v1/enroll", data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    with opener.open(request, timeout=20) as response:
        return json.load(response)


class Session:
    """One session, from Hello to the close."""

    PACKETS = 1  # the agent opens odd streams

    def __init__(self, socket, node_id: str):
        self.socket = socket
        self.node_id = node_id
        self.parts: dict[int, bytes] = {}
        self.commands: dict[int, dict] = {}
        self.sequence = 0
        self.interval = 15.0
        self.welcomed = asyncio.Event()

    async def send(self, *pieces: bytes) -> None:
        await self.socket.send(b"".join(pieces))

    async def run(self) -> None:
        hello = encode(
            (1, 1), (2, 1), (3, self.node_id), (4, os.urandom(8).hex()), (7, "conformance"), (8, "linux"),
            (12, "conformance"), (16, "journal-1"), (18, now_ms()),
        )  # fmt: skip
        profile = encode((1, "default"), (2, "native"), (4, 1))
        hello += message(15, profile)
        await self.send(frame(DATA, 0, message(1, hello)))
        heart = asyncio.create_task(self.beat())
        try:
            async for data in self.socket:
                for kind, flags, stream, payload in frames(data):
                    await self.take(kind, flags, stream, payload)
        except websockets.ConnectionClosed:
            pass
        finally:
            heart.cancel()
        report("closed", code=self.socket.close_code, reason=self.socket.close_reason)

    async def beat(self) -> None:
        """Heartbeats from Welcome on; the first at once."""
        await self.welcomed.wait()
        while True:
            heartbeat = encode((1, self.sequence), (2, now_ms()))
            await self.send(frame(DATA, 0, message(3, heartbeat)))
            self.sequence += 1
            await asyncio.sleep(self.interval)

    async def take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (OPEN, DATA):
            payload = self.parts.pop(stream, b"") + payload
            if flags & MORE:
                self.parts[stream] = payload
                return
            if stream == 0:
                await self.session(decode(payload))
            elif stream == self.PACKETS:
                self.acknowledged(decode(payload))
            elif kind == OPEN or stream not in self.commands:
                await self.opened(stream, decode(payload))
        elif kind == GOAWAY:
            code, last = struct.unpack(">II", payload[:8])
            report("goaway", code=code, last_stream=last, reason=payload[8:].decode())
            await self.socket.close(1000, "drained")
        # WINDOW, END and RESET need no answer from an agent that sends this little, and what is unknown is skipped.

    async def session(self, body: dict) -> None:
        if 2 in body:
            welcome = decode(body[2][0])
            self.interval = max(1.0, integer(welcome, 5) / 1000)
            report(
                "welcome", version=integer(welcome, 1), node_id=text(welcome, 2), epoch=integer(welcome, 4),
                interval_ms=integer(welcome, 5),
            )  # fmt: skip
            self.sequence = 1
            self.welcomed.set()
        elif 4 in body:
            sequence = integer(decode(body[4][0]), 1)
            report("heartbeat_ack", sequence=sequence)
            if sequence == 1:
                await self.send_packet()

    async def send_packet(self) -> None:
        header = message(2, encode((1, "journal-1")))
        packet = encode(
            (1, "bot-of-nobody"), (2, 1), (3, "launch-1"), (5, "note"), (10, now_ms()), (11, b'{"type":"note"}')
        )
        await self.send(
            frame(OPEN, self.PACKETS, header), frame(DATA, self.PACKETS, message(1, packet))
        )

    def acknowledged(self, ack: dict) -> None:
        for cursor in map(decode, ack.get(1, [])):
            report("packet_ack", bot_id=text(cursor, 1), through=integer(cursor, 2))

    async def opened(self, stream: int, header: dict) -> None:
        if 1 not in header:
            await self.send(frame(RESET, stream, struct.pack(">I", 3) + b"only commands are known here"))
            return
        command = decode(header[1][0])
        self.commands[stream] = command
        identifier = text(command, 1)
        kind = next((name for number, name in COMMANDS.items() if number in command), "unknown")
        report("command", id=identifier, kind=kind)
        result = encode((1, identifier), (2, 1), (4, "done by the conformance agent"), (5, now_ms()), (6, now_ms()))
        await self.send(frame(DATA, stream, result), frame(END, stream))


COMMANDS = {3: "start_bot", 4: "stop_bot", 5: "deliver_message", 6: "remove_bot"}


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--hub", required=True, help="https://host:port")
    options.add_argument("--code", required=True)
    options.add_argument("--ca-file", required=True)
    arguments = options.parse_args()
    context = ssl.create_default_context(cafile=arguments.ca_file)
    identity = await asyncio.to_thread(enroll, arguments.hub, arguments.code, context)
    report("paired", node_id=identity["node_id"], node_name=identity["node_name"])
    async with websockets.connect(
        arguments.hub.replace("https://", "wss://") + "/edge/v1/connect",
        ssl=context,
        subprotocols=["edge.v1"],
        additional_headers={"Authorization": "Bearer " + identity["token"]},
        max_size=65536,
        proxy=None,
    ) as socket:
        report("connected", subprotocol=socket.subprotocol)
        await Session(socket, identity["node_id"]).run()


if __name__ == "__main__":
    asyncio.run(main())
