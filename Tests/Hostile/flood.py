"""Every flood at once: 500 strangers against a hub, and what a good node and a signed-in operator notice of it.

The floods run in one process of their own, each at a bounded rate: what is measured is what strangers cost the hub, and on a
machine with two cores an unbounded flooder would only show what it takes from the hub itself. What the flooder alone takes
is measured too, by letting it loose on a listener that closes whatever comes while the hub is idle.
"""

import asyncio
import json
import multiprocessing
import os
import socket
import statistics
import threading
import time

from attack import judge
from node import Node, enroll, upgrade_request
from strangers import Crowd, behind, unfinished_hello

SECONDS = float(os.environ.get("FLOOD_SECONDS", "20"))
MOST_MEBIBYTES = 64
MOST_TIMES = 3
# Whatever else the machine does only adds to what is seen, so one round that holds is enough.
ROUNDS = 3

# How many strangers there are of a kind, and how long each waits before it tries again, seconds.
KINDS = {
    "wrong token, no Hello": (100, 2.0),
    "wrong token, 4 MiB behind it": (40, 4.0),
    "kept open": (120, 5.0),
    "slow head": (60, 1.0),
    "slow body": (50, 1.0),
    "takes no answer": (30, 5.0),
    "wrong sign-in": (40, 1.0),
    "wrong code": (40, 1.0),
    "wrong API token": (20, 0.5),
}


class Counts:
    def __init__(self):
        self.dialed = self.refused = self.answered = 0


def address_of(kind, index):
    return f"2001:db8:{kind:x}:{index:x}::1"


async def stranger(kind, name, index, pause, address, counts):
    """One stranger: dials, does what it does until the hub ends it, and comes again."""
    forwarded = address_of(kind, index)
    host = f"Host: hub\r\nX-Forwarded-For: {forwarded}\r\n"
    await asyncio.sleep(pause * index / KINDS[name][0])
    while True:
        began = time.monotonic()
        writer = None
        try:
            # Small: what is not read is to wait in the hub.
            reader, writer = await asyncio.open_connection(*address, limit=4096)
            counts.dialed += 1
            await act(name, forwarded, host, reader, writer, counts)
        except OSError:
            counts.refused += 1
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            if writer:
                writer.transport.abort()
        await asyncio.sleep(max(0.05, pause - (time.monotonic() - began)))


async def act(name, forwarded, host, reader, writer, counts):
    def post(path, body):
        text = json.dumps(body)
        return (f"POST {path} HTTP/1.1\r\n{host}Content-Type: application/json\r\nContent-Length: {len(text)}\r\n"
                f"Connection: close\r\n\r\n{text}").encode()

    async def ask(data):
        writer.write(data)
        if await reader.read(65536):
            counts.answered += 1

    match name:
        case "wrong token, no Hello":
            await ask(upgrade_request(behind("edge_nobody", forwarded)))
            while await reader.read(4096):
                pass
        case "wrong token, 4 MiB behind it":
            writer.write(upgrade_request(behind("edge_nobody", forwarded)))
            frame = unfinished_hello(4 << 20)
            for start in range(0, len(frame), 1 << 16):
                writer.write(frame[start:start + (1 << 16)])
                await writer.drain()
            await reader.read(4096)
        case "kept open":
            await ask(f"GET /healthz HTTP/1.1\r\n{host}\r\n".encode())
            await reader.read(4096)
        case "slow head":
            writer.write(b"GET / HTTP/1.1\r\nX-A: ")
            while not writer.is_closing() and not reader.at_eof():
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(1)
        case "slow body":
            writer.write(f"POST /edge/v1/enroll HTTP/1.1\r\n{host}Content-Length: 5000\r\n\r\n".encode())
            while not writer.is_closing() and not reader.at_eof():
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(1)
        case "takes no answer":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            writer.transport.pause_reading()
            writer.write(f"GET /api/openapi.json HTTP/1.1\r\n{host}\r\n".encode() * 20)
            await asyncio.sleep(60)
        case "wrong sign-in":
            await ask(post("/api/session", {"token": "op_wrong"}))
        case "wrong code":
            await ask(post("/edge/v1/enroll", {"code": "ABCD-EFGH-JKMN", "request_id": os.urandom(8).hex()}))
        case "wrong API token":
            await ask(f"GET /api/nodes HTTP/1.1\r\n{host}Authorization: Bearer op_wrong\r\nConnection: close\r\n\r\n".encode())


async def loose(address, seconds):
    counts = {name: Counts() for name in KINDS}
    tasks = [asyncio.create_task(stranger(kind, name, index, pause, address, counts[name]))
             for kind, (name, (number, pause)) in enumerate(KINDS.items()) for index in range(number)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {name: (count.dialed, count.answered, count.refused) for name, count in counts.items()}


def flooder(address, seconds, results):
    began = time.process_time()
    results.put((asyncio.run(loose(address, seconds)), time.process_time() - began))


def percentiles(samples):
    samples = sorted(samples)
    if not samples:
        return float("nan"), float("nan"), float("nan")
    return statistics.median(samples), samples[min(len(samples) - 1, int(len(samples) * 0.99))], samples[-1]


class Guests:
    """The good node and the operator: one process, two threads, each a request every 25 ms."""

    def __init__(self, stage, identity):
        self.stage, self.identity = stage, identity

    def measure(self, seconds):
        """(heartbeat, list) round trips in milliseconds, and the faults there were."""
        heartbeats, lists, faults = [], [], []
        threads = [threading.Thread(target=self.node, args=(seconds, heartbeats, faults)),
                   threading.Thread(target=self.operator, args=(seconds, lists, faults))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return heartbeats, lists, faults

    def node(self, seconds, times, faults):
        try:
            node = Node(self.stage.address, behind(self.identity["token"], "198.51.100.200"))
            if node.hello(self.identity["node_id"]) is None:
                raise OSError(f"no welcome, closed with {node.closed}")
            end = time.monotonic() + seconds
            sequence = 1
            node.receive(5)
            while time.monotonic() < end:
                sequence += 1
                began = time.monotonic()
                node.heartbeat(sequence)
                if node.receive(5) is None:
                    raise OSError(f"the session ended with {node.closed}")
                times.append((time.monotonic() - began) * 1000)
                time.sleep(0.025)
            node.close()
        except OSError as fault:
            faults.append(f"node: {fault}")

    def operator(self, seconds, times, faults):
        import http.client
        end = time.monotonic() + seconds
        headers = {"Authorization": f"Bearer {self.stage.admin}"}
        connection = http.client.HTTPConnection(*self.stage.address, timeout=5)
        while time.monotonic() < end:
            try:
                began = time.monotonic()
                connection.request("GET", "/api/nodes", headers=headers)
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    faults.append(f"operator: {response.status}")
                times.append((time.monotonic() - began) * 1000)
            except OSError as fault:
                faults.append(f"operator: {fault}")
                connection.close()
            time.sleep(0.025)
        connection.close()


def newcomers(stage, identity, end, faults, times):
    """While the flood lasts, a node that connects anew and an operator who signs in, every second."""
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            node = Node(stage.address, behind(identity["token"], "198.51.100.201"), timeout=5)
            if node.hello(identity["node_id"]) is None:
                faults.append(f"newcomer: closed with {node.closed}")
            node.close()
            answer = stage.send("POST", "/api/session", body={"token": stage.admin}, timeout=5)
            if answer.status != 201:
                faults.append(f"sign-in: {answer.status}")
        except OSError as fault:
            faults.append(f"newcomer: {fault}")
        times.append((time.monotonic() - began) * 1000)
        time.sleep(1)


def sink():
    """A listener that takes whatever comes and closes it."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    return listener


def let_loose(address, seconds):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=flooder, args=(address, seconds, results))
    process.start()
    return process, results


def carry_out(outer):
    stage = Crowd(outer.programs, outer.folder / "flood", dict(outer.more))
    stage.folder.mkdir()
    try:
        stage.begin()
        good = enroll(stage, stage.admin, "good")
        for number in range(ROUNDS):
            # One of its own for each round: a node's sessions are limited, too.
            newcomer = enroll(stage, stage.admin, f"newcomer-{number}")
            outcome = measure(stage, good, newcomer)
            if outcome.held:
                break
        return outcome
    finally:
        stage.strike()


def measure(stage, good, other):
    guests = Guests(stage, good)
    guests.measure(2)
    idle = guests.measure(SECONDS)
    listener = sink()
    process, results = let_loose(listener.getsockname(), SECONDS + 2)
    time.sleep(2)
    beside = guests.measure(SECONDS)
    alone, processor = results.get()
    process.join()
    listener.close()
    before = stage.resident()
    before_processor = processor_seconds(stage)
    process, results = let_loose(stage.address, SECONDS + 6)
    faults, arrivals, resident, strangers = [], [], [before], []
    end = time.monotonic() + SECONDS + 4

    def watch():
        while time.monotonic() < end:
            resident.append(stage.resident())
            time.sleep(0.25)
            if len(resident) % 20 == 0:
                strangers.append(stage.figure('controlhub_connections{kind="stranger"}'))

    helpers = [threading.Thread(target=watch), threading.Thread(target=newcomers, args=(stage, other, end, faults, arrivals))]
    helpers[0].start()
    time.sleep(4)
    helpers[1].start()
    flooded = guests.measure(SECONDS)
    for helper in helpers:
        helper.join()
    rates, flooder_processor = results.get()
    process.join()
    faults += flooded[2]
    return report(stage, idle, beside, flooded, resident, rates, faults, arrivals, max(strangers),
                  (processor_seconds(stage) - before_processor, flooder_processor, processor))


def processor_seconds(stage):
    fields = open(f"/proc/{stage.hub.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report(stage, idle, beside, flooded, resident, rates, faults, arrivals, strangers, processor):
    def line(text):
        print(f"hostile:        {text}", flush=True)

    line(f"{os.cpu_count()} processors; each figure over {SECONDS:.0f} s; milliseconds p50 / p99 / most")
    for index, what in enumerate(("heartbeat to its answer", "operator's GET /api/nodes")):
        for when, samples in (("idle", idle), ("flooder on another listener", beside), ("every flood at once", flooded)):
            p50, p99, most = percentiles(samples[index])
            line(f"{what}, {when}: {p50:.2f} / {p99:.2f} / {most:.2f} of {len(samples[index])}")
    p50, p99, most = percentiles(arrivals)
    line(f"a node that connects and an operator who signs in, flooded: {p50:.1f} / {p99:.1f} / {most:.1f} of {len(arrivals)}")
    for name, (dialed, answered, refused) in rates.items():
        number = KINDS[name][0]
        line(f"{name}: {number} strangers, {dialed / (SECONDS + 6):.1f} connections a second, {answered} answered, {refused} refused")
    grown = max(resident) - resident[0]
    line(f"memory of the hub: {resident[0]:.1f} MiB before, {max(resident):.1f} MiB at most ({grown:+.1f})")
    line(f"processor seconds: hub {processor[0]:.1f}, flooder {processor[1]:.1f} (on the other listener {processor[2]:.1f})")
    counts = {line.split('"')[1]: int(float(line.split()[-1]))
              for line in stage.send("GET", "/metrics", token=stage.admin).body.decode().splitlines()
              if line.startswith("controlhub_refusals_total") and not line.endswith(" 0")}
    line("refusals: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    ratios = []
    for index in (0, 1):
        calm, busy = percentiles(idle[index])[1], percentiles(flooded[index])[1]
        ratios.append(busy / calm)
    for fault in faults[:5]:
        line(f"fault: {fault}")
    is_held = not faults and grown <= MOST_MEBIBYTES and max(ratios) <= MOST_TIMES
    return judge(is_held, f"{strangers:.0f} strangers held, p99 {ratios[0]:.1f} and {ratios[1]:.1f} times idle, "
                          f"{grown:+.0f} MiB, {len(faults)} faults")
