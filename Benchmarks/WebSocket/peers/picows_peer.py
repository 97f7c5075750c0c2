"""picows on uvloop, with callbacks as its documentation shows them."""

import asyncio

import peer
import uvloop
from picows import WSListener, WSMsgType, ws_connect, ws_create_server

LIMIT = 64 << 20


class Server(WSListener):
    def __init__(self, path):
        self.path = path
        self.messages = self.total = self.left = 0
        self.writable = asyncio.Event()
        self.writable.set()

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif self.path == "/sink":
            if frame.msg_type == WSMsgType.BINARY:
                self.messages += 1
                self.total += len(frame.get_payload_as_memoryview())
            else:
                transport.send(WSMsgType.TEXT, f"{self.messages} {self.total}".encode())
                self.messages = self.total = 0
        elif self.path == "/source":
            size, count = map(int, frame.get_payload_as_utf8_text().split())
            self.task = asyncio.get_running_loop().create_task(self.emit(transport, size, count))
        else:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())

    async def emit(self, transport, size, count):
        message = peer.payload(size)
        for _ in range(count):
            transport.send(WSMsgType.BINARY, message)
            if not self.writable.is_set():
                await self.writable.wait()

    def pause_writing(self):
        self.writable.clear()

    def resume_writing(self):
        self.writable.set()


class Client(WSListener):
    def __init__(self, options):
        self.options = options
        self.done = asyncio.get_running_loop().create_future()
        self.message = peer.payload(options.size)
        self.samples = []
        self.received = 0
        self.writable = asyncio.Event()
        self.writable.set()

    def on_ws_connected(self, transport):
        self.transport = transport

    def round_trip(self):
        self.start = peer.now()
        self.transport.send(WSMsgType.BINARY, self.message)

    def on_ws_frame(self, transport, frame):
        options = self.options
        if options.mode == "send":
            self.done.set_result(frame.get_payload_as_utf8_text())
            return
        if len(frame.get_payload_as_memoryview()) != options.size:
            peer.fail("a message is not what was asked for")
        self.received += 1
        if options.mode == "rtt":
            if self.received > options.count // 10:
                self.samples.append(peer.now() - self.start)
            if self.received == options.count + options.count // 10:
                self.done.set_result(None)
            else:
                self.round_trip()
        elif self.received == options.count:
            self.done.set_result(None)

    def pause_writing(self):
        self.writable.clear()

    def resume_writing(self):
        self.writable.set()


async def server(options):
    listening = await ws_create_server(
        lambda request: Server(request.path.decode()), "127.0.0.1", options.port, ssl=peer.server_tls(options),
        max_frame_size=LIMIT, websocket_handshake_timeout=60)
    await listening.serve_forever()


async def client(options):
    transport, listener = await ws_connect(
        lambda: Client(options), options.url, ssl_context=peer.client_tls(options), max_frame_size=LIMIT)
    if options.mode == "rtt":
        listener.round_trip()
        await listener.done
        peer.print_rtt(options, listener.samples)
    elif options.mode == "send":
        start = peer.now()
        for _ in range(options.count):
            transport.send(WSMsgType.BINARY, listener.message)
            if not listener.writable.is_set():
                await listener.writable.wait()
        transport.send(WSMsgType.TEXT, b"?")
        answer = await listener.done
        elapsed = peer.now() - start
        if answer != f"{options.count} {options.count * options.size}":
            peer.fail("the server counted differently")
        peer.print_throughput(options, elapsed)
    else:
        start = peer.now()
        transport.send(WSMsgType.TEXT, f"{options.size} {options.count}".encode())
        await listener.done
        peer.print_throughput(options, peer.now() - start)
    transport.disconnect()


if __name__ == "__main__":
    options = peer.parse()
    uvloop.run(server(options) if options.role == "server" else client(options))
