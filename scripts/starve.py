#!/usr/bin/env python3
"""One node with everything that could starve others at once: hundreds of bots whose logs are copied, stalled downloads, moves
of a large workspace and a bot that writes ten times the packets that it may. Beside it a stop, a message and a listing on that node, the
same on another node, and what the page asks for are timed, idle and under it, in the same run. Then all of it ends, and the descriptors and
memory of hub and agent are looked at again.

Prints a table and ends with 1 where a p99 is more than three times that of idle (and more than FLOOR, which a busy machine of two
processors needs), or where something was not given back. Run it by `make starve`.
"""

import argparse
import http.client
import json
import os
import pathlib
import shlex
import signal
import socket
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "Tests" / "API"))

from stage import SAMPLE, Failure, Stage, wait  # noqa: E402

MEBIBYTE = 1 << 20
# Milliseconds below which a ratio says nothing: waits of the scheduler, with two processors for everything.
FLOOR = 250
MOST_TIMES = 3

# Writes a line of log now and then; more often, hundreds of shells that start a `sleep` each would be what starves the machine.
TICKER = "/bin/sh -c 'while :; do echo tick; sleep 5; done'"

# Writes ten times the packets that a bot may.
FLOODER = """
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
prefix, number = os.environ["BOT_PACKET_PREFIX"], 1
sys.stdout.write(prefix + json.dumps({"v": 1, "seq": 1, "ts": 1767225600000, "type": "ready"}) + "\\n")
while True:
    lines = []
    for _ in range(500):
        number += 1
        lines.append(prefix + json.dumps({"v": 1, "seq": number, "ts": 1767225600000, "type": "note", "text": "x" * 100}))
    sys.stdout.write("\\n".join(lines) + "\\n")
    sys.stdout.flush()
    time.sleep(0.05)
"""


class Starved(Stage):
    def __init__(self, programs, folder, bots):
        super().__init__(programs, folder)
        self.environment |= {"HUB_KEEP_LOGS": "1M", "HUB_SESSION_BURST": "10000", "HUB_HEARTBEAT_INTERVAL": "5s"}
        self.bots = bots
        self.agents = {}
        self.nodes = {}

    def begin(self):
        flooder = self.folder / "flooder.py"
        flooder.write_text(FLOODER)
        self.environment["EDGE_PROFILES"] = json.dumps({
            "ticker": {"command": TICKER, "packets": False, "settle_time": "1s", "isolation": False},
            "flooder": {"command": f"{shlex.quote(sys.executable)} {flooder}", "delivery": "stdin"}})
        self.raise_hub()
        self.admin = self.operator("the-admin", "admin")["token"]
        # Each has a share of its own in what is open.
        self.viewers = [self.operator(f"viewer-{number}", "viewer")["token"] for number in range(4)]
        for name in ("full", "other"):
            self.join(name)

    def join(self, name):
        code = self.send("POST", "/api/enrollments", token=self.admin, body={}).json["code"]
        state = self.folder / name
        self.run(self.agent_program, "enroll", "--hub", self.url, "--code", code, "--name", name, "--state-dir", str(state))
        self.nodes[name] = json.loads((state / "identity.json").read_text())["node_id"]
        self.agents[name] = self.start([self.agent_program, "run", "--state-dir", str(state)],
                                       self.folder / f"{name}.log", EDGE_NATIVE_COMMAND=SAMPLE)
        wait(f"{name} to be online", lambda: self.ask("GET", f"/api/nodes/{self.nodes[name]}").json["health"] == "online")

    def ask(self, method, path, body=None, token=None):
        """Where the hub says to come back, the caller does, and what that costs counts."""
        while True:
            answer = self.send(method, path, token=token or self.admin, body=body, timeout=60)
            if answer.status not in (409, 429, 503) or answer.code not in ("node_offline", "hub_busy", "too_many_streams"):
                return answer
            time.sleep(0.1)

    def bot(self, name, node, profile="default"):
        body = {"name": name, "node_id": self.nodes[node], "runtime_profile": profile}
        bot = self.ask("POST", "/api/bots", body).json["id"]
        self.ask("POST", f"/api/bots/{bot}/start")
        return bot

    def phase(self, bot):
        return self.ask("GET", f"/api/bots/{bot}").json["phase"]

    def ready(self, bot):
        # Bots take turns starting; the last of hundreds waits for all before it.
        try:
            wait(f"{bot} to be ready", lambda: self.phase(bot) == "ready", 900)
        except Failure as fault:
            raise Failure(f"{fault}; it is {self.ask('GET', f'/api/bots/{bot}').body.decode()}") from None

    def state(self):
        """What hub and agents hold: name → (descriptors, MiB)."""
        processes = {"hub": self.hub, **{f"agent {name}": agent for name, agent in self.agents.items()}}
        return {name: (len(os.listdir(f"/proc/{process.pid}/fd")), resident(process.pid)) for name, process in processes.items()}


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


class Probe:
    """What an operator does on one node, each timed."""

    def __init__(self, stage, node):
        self.stage = stage
        self.talker = stage.bot(f"talker-{node}", node)
        self.stopped = stage.bot(f"stopped-{node}", node, "ticker")
        stage.ready(self.talker)
        stage.ready(self.stopped)
        for number in range(20):
            stage.ask("PUT", f"/api/bots/{self.talker}/workspace/file-{number}", "hello")

    def command(self, bot, what):
        answer = self.stage.ask("POST", f"/api/bots/{bot}/{what}").json
        path = f"/api/commands/{answer['command_id']}"
        wait(f"{what} to be carried out",
             lambda: self.stage.ask("GET", path).json["state"] in ("done", "failed", "expired"), 120)

    def stop(self):
        began = time.monotonic()
        self.command(self.stopped, "stop")
        took = time.monotonic() - began
        self.command(self.stopped, "start")
        return took

    def message(self):
        began = time.monotonic()
        sent = self.stage.ask("POST", f"/api/bots/{self.talker}/messages", {"text": "there?"}).json
        path = f"/api/bots/{self.talker}/conversations/{sent['conversation_id']}"

        def answered():
            return any(entry.get("message_id") == sent["message_id"] and entry["role"] != "user" and entry["state"] == "answered"
                       for entry in self.stage.ask("GET", path).json["items"])

        wait("the answer", answered, 120)
        return time.monotonic() - began

    def listing(self):
        began = time.monotonic()
        answer = self.stage.ask("GET", f"/api/bots/{self.talker}/workspace?list=")
        if answer.status != 200:
            raise Failure(f"listing: {answer.status} {answer.body[:200]}")
        return time.monotonic() - began


def page(stage):
    began = time.monotonic()
    for path in ("/api/nodes?limit=100", "/api/bots?limit=100", "/api/events/recent"):
        stage.ask("GET", path)
    return time.monotonic() - began


def measure(stage, probes, rounds):
    """Milliseconds of each thing that was done, in order of name."""
    times = {}
    for _ in range(rounds):
        for node, probe in probes.items():
            for what in ("stop", "message", "listing", "listing", "listing"):
                times.setdefault(f"{what}, {node} node", []).append(getattr(probe, what)() * 1000)
        for _ in range(3):
            times.setdefault("page", []).append(page(stage) * 1000)
    return times


class Load:
    """Everything at once, until `end`."""

    def __init__(self, stage):
        self.stage, self.over = stage, threading.Event()
        self.moves, self.stalled, self.faults = 0, 0, []
        self.flooder = stage.bot("flooder", "full", "flooder")
        self.mover = stage.bot("mover", "full", "ticker")
        stage.ready(self.mover)
        stage.ask("PUT", f"/api/bots/{self.mover}/workspace/large", os.urandom(64 * MEBIBYTE))
        self.file = stage.bot("file", "full", "ticker")
        stage.ready(self.file)
        stage.ask("PUT", f"/api/bots/{self.file}/workspace/large", os.urandom(64 * MEBIBYTE))
        self.threads = [threading.Thread(target=self.download, args=(viewer,), daemon=True)
                        for viewer in stage.viewers for _ in range(4)]
        self.threads.append(threading.Thread(target=self.move, daemon=True))
        for thread in self.threads:
            thread.start()

    def download(self, token):
        """Takes the head of a file and then nothing, until the hub lets go; then again."""
        while not self.over.is_set():
            with socket.socket() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.settimeout(5)
                try:
                    connection.connect(self.stage.address)
                    connection.sendall(f"GET /api/bots/{self.file}/workspace/large HTTP/1.1\r\nHost: hub\r\n"
                                       f"Authorization: Bearer {token}\r\n\r\n".encode())
                    if connection.recv(12) != b"HTTP/1.1 200":
                        self.over.wait(0.5)
                        continue
                    self.stalled += 1
                    self.over.wait(15)
                except OSError:
                    self.over.wait(0.5)

    def move(self):
        target = "other"
        while not self.over.is_set():
            answer = self.stage.ask("POST", f"/api/bots/{self.mover}/deploy", {"node_id": self.stage.nodes[target]})
            if answer.status not in (200, 202):
                self.faults.append(f"move: {answer.status} {answer.body[:300]}")
                return
            path = f"/api/deployments/{answer.json['id']}"
            ended = wait("the move", lambda: (lambda state: state if state["state"] in ("succeeded", "failed", "cancelled", "rolled_back")
                                              else None)(self.stage.ask("GET", path).json), 300)
            if ended["state"] != "succeeded":
                self.faults.append(f"move: {ended['state']}: {ended.get('reason')}")
                return
            self.moves += 1
            target = "full" if target == "other" else "other"

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        for bot in (self.flooder, self.mover, self.file):
            self.stage.ask("DELETE", f"/api/bots/{bot}")
        wait("what was open to be let go", lambda: True)


def p(times, share):
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / ".build" / "debug")
    parser.add_argument("--bots", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    # Ended from outside it must end its bots, which outlive their agent on purpose.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="starve-") as folder:
        stage = Starved(options.programs.resolve(), pathlib.Path(folder), options.bots)
        try:
            return carry_out(stage, options)
        finally:
            stage.strike()


def carry_out(stage, options):
    stage.begin()
    probes = {name: Probe(stage, name) for name in ("full", "other")}
    print(f"starve: starting {options.bots} bots", flush=True)
    bots = [stage.bot(f"ticker-{number}", "full", "ticker") for number in range(options.bots)]
    for bot in bots:
        stage.ready(bot)
    # The copies take turns; what they hold then is what is held in rest.
    time.sleep(20)
    before = stage.state()
    idle = measure(stage, probes, options.rounds)
    load = Load(stage)
    stage.ready(load.flooder)
    time.sleep(5)
    busy = measure(stage, probes, options.rounds)
    load.end()
    faults = list(load.faults)
    copies = sum(1 for folder in (stage.data / "logs").iterdir() if any(folder.rglob("*.log")))
    # Idle connections of the hub and transfers' last words take their time.
    deadline = time.monotonic() + 60
    while True:
        after = stage.state()
        grown = [f"{name}: {before[name][0]} descriptors before, {count} after" for name, (count, _) in after.items()
                 if count > before[name][0] + 8]
        if not grown or time.monotonic() > deadline:
            break
        time.sleep(1)
    faults += grown
    print(f"starve: {options.bots} bots with copies of {copies} logs, {load.stalled} downloads stalled, {load.moves} moves of 64 MiB")
    print(f"starve: {'milliseconds':<22} {'idle p50':>9} {'p99':>9}   {'busy p50':>9} {'p99':>9}   times")
    for what, calm in idle.items():
        ratio = p(busy[what], 0.99) / p(calm, 0.99)
        is_over = ratio > MOST_TIMES and p(busy[what], 0.99) > FLOOR
        if is_over:
            faults.append(f"{what}: p99 {ratio:.1f} times idle")
        print(f"starve: {what:<22} {p(calm, .5):9.1f} {p(calm, .99):9.1f}   {p(busy[what], .5):9.1f} {p(busy[what], .99):9.1f}   {ratio:.1f}"
              f"{'  TOO SLOW' if is_over else ''}")
    for name, (count, memory) in after.items():
        print(f"starve: {name:<22} {before[name][0]} → {count} descriptors, {before[name][1]:.0f} → {memory:.0f} MiB")
    if load.moves == 0:
        faults.append("no move succeeded")
    if copies < options.bots:
        faults.append(f"{options.bots - copies} logs were never copied")
    for fault in faults:
        print(f"starve: FAILED {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
