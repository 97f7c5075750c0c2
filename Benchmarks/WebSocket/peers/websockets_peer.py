"""The `websockets` package on asyncio, without compression unless asked for."""

import asyncio

import peer
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

LIMITS = {"max_size": 64 << 20, "ping_interval": None}


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def sink(connection):
    messages = total = 0
    async for message in connection:
        if isinstance(message, bytes):
            messages += 1
            total += len(message)
        else:
            await connection.send(f"{messages} {total}")
            messages = total = 0


async def source(connection):
    async for order in connection:
        size, count = map(int, order.split())
        message = peer.payload(size)
        for _ in range(count):
            await connection.send(message)


async def server(options):
    behaviours = {"/sink": sink, "/source": source}

    async def handle(connection):
        await behaviours.get(connection.request.path, echo)(connection)

    compression = "deflate" if options.deflate else None
    async with serve(handle, "127.0.0.1", options.port, ssl=peer.server_tls(options), compression=compression, **LIMITS):
        await asyncio.get_running_loop().create_future()


async def client(options):
    async with connect(options.url, ssl=peer.client_tls(options), compression=None, **LIMITS) as connection:
        message = peer.payload(options.size)
        if options.mode == "rtt":
            samples = []
            for i in range(options.count + options.count // 10):
                start = peer.now()
                await connection.send(message)
                if len(await connection.recv()) != options.size:
                    peer.fail("the answer is not what was sent")
                if i >= options.count // 10:
                    samples.append(peer.now() - start)
            peer.print_rtt(options, samples)
        elif options.mode == "send":
            start = peer.now()
            for _ in range(options.count):
                await connection.send(message)
            await connection.send("?")
            answer = await connection.recv()
            elapsed = peer.now() - start
            if answer != f"{options.count} {options.count * options.size}":
                peer.fail("the server counted differently")
            peer.print_throughput(options, elapsed)
        else:
            start = peer.now()
            await connection.send(f"{options.size} {options.count}")
            for _ in range(options.count):
                if len(await connection.recv()) != options.size:
                    peer.fail("a message is not what was asked for")
            peer.print_throughput(options, peer.now() - start)


if __name__ == "__main__":
    options = peer.parse()
    asyncio.run(server(options) if options.role == "server" else client(options))
