"""A TCP relay on loopback that cuts what goes through it, in every way a network does."""

import asyncio
import collections
import socket
import struct
import threading


class Relay:
    """Relays every connection to one port. While `is_cutting` holds, each new one gets a fate of its own."""

    # Name and weight.
    FATES = {
        "fin": 3,         # both ends hear a proper end of the stream
        "rst": 3,         # both ends get a reset
        "hole": 2,        # nothing goes through any more, and only much later both are reset
        "half-agent": 1,  # the agent's side ends, the hub hears nothing for a while
        "half-hub": 1,    # the hub's side ends, the agent hears nothing for a while
        "handshake": 3,   # cut after so many bytes, in the TLS or WebSocket handshake or soon after
        "refuse": 1,      # accepted and reset at once
        "drip": 1,        # bytes trickle in small pieces until the cut
    }

    def __init__(self, chance):
        self.is_cutting = False
        self.cuts = 0
        self.kinds = collections.Counter()
        self._chance = chance
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks = set()
        self._server = None
        self._port = None

    def start(self, port):
        """Relays to `port` from now on. Returns the port to connect to."""
        self._port = int(port)
        self._thread.start()
        listen = asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(listen, self._loop).result(10)
        return self._server.sockets[0].getsockname()[1]

    def cut_all(self):
        """Ends every connection there is; the next ones live on."""
        def cancel():
            for task in self._tasks:
                task.cancel()
        self._loop.call_soon_threadsafe(cancel)

    def stop(self):
        """Ends the relay."""
        if self._server:
            self.cut_all()
            self._loop.call_soon_threadsafe(self._server.close)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def summary(self):
        """How often each fate came."""
        return ", ".join(f"{kind} {count}" for kind, count in sorted(self.kinds.items()))

    async def _accept(self, agent_in, agent_out):
        task = asyncio.current_task()
        self._tasks.add(task)
        writers = [agent_out]
        try:
            await self._serve(agent_in, agent_out, writers)
        except (OSError, asyncio.CancelledError):
            pass  # an end went away by itself, or the relay cut it
        finally:
            self._tasks.discard(task)
            for writer in writers:
                self._reset(writer)

    async def _serve(self, agent_in, agent_out, writers):
        fate = self._chance.choices(list(self.FATES), list(self.FATES.values()))[0] if self.is_cutting else None
        if fate == "refuse":
            self._count(fate)
            return
        hub_in, hub_out = await asyncio.open_connection("127.0.0.1", self._port)
        writers.append(hub_out)
        link = _Link(self._chance.randint(0, 8000) if fate == "handshake" else None, fate == "drip")
        pumps = [asyncio.ensure_future(link.pump(agent_in, hub_out)), asyncio.ensure_future(link.pump(hub_in, agent_out))]
        try:
            limit = self._chance.uniform(0.5, 5) if fate else None
            done, _ = await asyncio.wait(pumps, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if done and not link.is_used_up:
                # An end closed by itself. The other one hears of it, as it would without a relay.
                await asyncio.wait(pumps, timeout=5)
                return
            self._count(fate)
            await self._cut(fate, link, agent_out, hub_out)
        finally:
            for pump in pumps:
                pump.cancel()

    async def _cut(self, fate, link, agent_out, hub_out):
        if fate == "fin":
            for writer in (agent_out, hub_out):
                writer.write_eof()
            await asyncio.sleep(0.2)
        elif fate in ("hole", "half-agent", "half-hub"):
            link.is_black_hole = True
            if fate != "hole":
                self._reset(agent_out if fate == "half-agent" else hub_out)
            await asyncio.sleep(self._chance.uniform(2, 15))

    def _count(self, fate):
        self.cuts += 1
        self.kinds[fate] += 1

    @staticmethod
    def _reset(writer):
        if not writer.transport.is_closing():
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()


class _Link:
    """What one connection's two directions share."""

    def __init__(self, bytes_left, drips):
        self._bytes_left = bytes_left
        self._drips = drips
        self.is_black_hole = False
        self.is_used_up = False

    async def pump(self, source, target):
        """Carries bytes until the source ends, or until as many have gone through as may."""
        while data := await source.read(64 if self._drips else 65536):
            if self._bytes_left is not None:
                data = data[:self._bytes_left]
                self._bytes_left -= len(data)
            if not self.is_black_hole:
                target.write(data)
                await target.drain()
            if self._bytes_left == 0:
                self.is_used_up = True
                return
            if self._drips:
                await asyncio.sleep(0.001)
        if not self.is_black_hole:
            target.write_eof()
