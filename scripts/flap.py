#!/usr/bin/env python3
"""A link that never holds: a real hub, a real agent, and between them a relay that cuts every connection after some
seconds, in every way a network does. Run it by `make flap`.

All the while a bot emits monitor packets and log lines, and somebody follows its log. Printed are the resident memory
and the open files of both programs, and how much they grow. In the end the relay leaves the link alone, and every
packet must be in the hub, once and in order. CONTROL_HUB and EDGE_AGENT name programs to use instead of building them.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import demo
from flap_relay import Relay

HERE = pathlib.Path(__file__).resolve().parent
# What grows by less than this from the first to the last third of the samples counts as flat: an allocator and a
# database cache breathe, and connections are at different points of their lives.
FLAT_KILOBYTES, FLAT_FILES = 3072, 6
# Emitted before the first cut: more than the hub's event feed keeps, so that it and the database's cache are full by then.
FIRST_PACKETS = 6000


def programs():
    """Paths of the hub and the agent, built where they are not given."""
    given = os.environ.get("CONTROL_HUB"), os.environ.get("EDGE_AGENT")
    if all(given):
        return [str(pathlib.Path(path).resolve()) for path in given]
    for name in ("control-hub", "edge-agent"):
        if subprocess.run([*demo.BUILD, "--product", name], cwd=HERE.parent, check=False).returncode != 0:
            raise demo.Failure("the build failed; its output is above")
    folder = pathlib.Path(demo.quiet([*demo.BUILD, "--show-bin-path"], cwd=HERE.parent).strip())
    return [str(folder / name) for name in ("control-hub", "edge-agent")]


def usage(process):
    """Resident memory in kilobytes, the part of it that is the program's own, and the number of open files."""
    if process.poll() is not None:
        raise demo.Failure(f"{pathlib.Path(process.args[0]).name} ended with {process.returncode}")
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    files = len(os.listdir(f"/proc/{process.pid}/fd"))
    return int(fields["VmRSS"].split()[0]), int(fields["RssAnon"].split()[0]), files


class Flap:
    """One run: what is started, what is measured, what must hold in the end."""

    def __init__(self, seconds, seed):
        self.seconds = seconds
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="flap-"))
        self.relay = Relay(random.Random(seed))
        self.processes = []
        self.samples = []
        self.figures = []
        self.packets = 0
        self.followed = 0
        self.is_over = threading.Event()
        self.api = self.bot = None

    def start(self, arguments, name, **environment):
        """Starts a program with its output in the run's folder."""
        keep = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
        with open(self.folder / f"{name}.log", "ab") as output:
            process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                cwd=self.folder, env={**keep, "HOME": str(self.folder), "NO_PROXY": "*", **environment})
        self.processes.append(process)
        return process

    def wait(self, what, limit, look):
        """Asks until there is an answer."""
        end, last = time.monotonic() + limit, None
        while time.monotonic() < end:
            try:
                if found := look():
                    return found
            except demo.Failure as failure:
                last = failure
            time.sleep(0.2)
        raise demo.Failure(f"waited {limit} s for {what}" + (f"; last: {last}" if last else ""))

    def set_up(self):
        """Hub, relay, agent and bot; nothing is cut yet."""
        hub, agent = programs()
        data = self.folder / "hub"
        serve = [hub, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(data)]
        self.hub = self.start(serve, "hub", HUB_HEARTBEAT_INTERVAL="1s")
        address = self.wait("the hub to listen", 60, lambda: demo.read(data / "hub.address"))
        authority = str(data / "tls" / "ca.pem")
        self.api = demo.API(f"https://{address}", authority)
        self.wait("the hub to be ready", 60, lambda: self.api.call("GET", "/readyz") is not None)
        for name, command in (("operator", ["operator", "add", "flap", "--role", "admin"]),
                              ("code", ["enrollment", "create"])):
            made = json.loads(demo.quiet([hub, *command, "--json", "--data-dir", str(data)]))
            if name == "operator":
                self.api.token = made["token"]
        port = self.relay.start(address.rpartition(":")[2])
        state = self.folder / "agent"
        demo.quiet([agent, "enroll", "--hub", f"https://127.0.0.1:{port}", "--code", made["code"], "--name", "flap",
                    "--ca-file", authority, "--state-dir", str(state)])
        bot = [sys.executable, str(HERE / "flap_bot.py"), str(self.folder), str(FIRST_PACKETS), "{config}", "{workspace}"]
        # It keeps its books outside of everything that it tests.
        profiles = {"default": {"command": bot, "isolation": False}}
        self.agent = self.start(
            [agent, "run", "--state-dir", str(state)], "agent",
            EDGE_PROFILES=json.dumps(profiles), EDGE_TEST_LONGEST_WAIT_MS="250")
        node = self.wait("the node to be online", 60, self.online)
        self.bot = self.api.call("POST", "/api/bots", {"name": "ticker", "node_id": node["id"]})["id"]
        self.api.call("POST", f"/api/bots/{self.bot}/start")
        self.wait("the bot to run", 60, lambda: self.api.call("GET", f"/api/bots/{self.bot}").get("phase") == "ready")
        if (stored := len(self.receive(FIRST_PACKETS))) < FIRST_PACKETS:
            raise demo.Failure(f"only {stored} of the first {FIRST_PACKETS} packets are in the hub after two minutes")

    def online(self):
        """The node, while its health is online."""
        nodes = self.api.call("GET", "/api/nodes")["items"]
        return next((node for node in nodes if node.get("health") == "online"), None)

    def follow(self):
        """Follows the bot's log, over and over; each follower is a stream through the link."""
        while not self.is_over.is_set():
            try:
                with self.api.open("GET", f"/api/bots/{self.bot}/logs?follow=true&tail=5", timeout=15) as answer:
                    for _ in answer:
                        self.followed += 1
                        if self.is_over.is_set():
                            break
            except (demo.Failure, OSError, ValueError):
                # The node is away, or was cut off while it answered. Asking again at once would only ask more often.
                self.is_over.wait(0.2)

    def flap(self):
        """The run itself."""
        follower = threading.Thread(target=self.follow)
        follower.start()
        try:
            self.relay.is_cutting = True
            self.relay.cut_all()
            begin = time.monotonic()
            shown = 0
            while (elapsed := time.monotonic() - begin) < self.seconds:
                self.samples.append((elapsed, *usage(self.hub), *usage(self.agent)))
                if elapsed >= shown:
                    self.show(self.samples[-1])
                    shown += min(30, max(5, self.seconds / 10))
                time.sleep(min(5, max(1, self.seconds / 60)))
            self.show((self.seconds, *usage(self.hub), *usage(self.agent)))
        finally:
            self.relay.is_cutting = False
            self.is_over.set()
            follower.join()

    def show(self, sample):
        """A line of figures."""
        elapsed, hub_rss, hub_anon, hub_files, agent_rss, agent_anon, agent_files = sample
        print(
            f"flap: {elapsed:4.0f} s  cuts {self.relay.cuts:4}  hub {hub_rss / 1024:6.1f} MB (own {hub_anon / 1024:5.1f})"
            f" {hub_files:3} files  agent {agent_rss / 1024:5.1f} MB (own {agent_anon / 1024:4.1f})"
            f" {agent_files:3} files  log lines followed {self.followed}", flush=True)

    def settle(self):
        """The link is left alone: everything must arrive, exactly once."""
        (self.folder / "quiet").touch()
        emitted = int(self.wait("the bot to fall silent", 30, lambda: demo.read(self.folder / "emitted")))
        self.relay.cut_all()
        self.wait("the node to be online again", 90, self.online)
        numbers = self.receive(emitted)
        if numbers != list(range(1, emitted + 1)):
            wrong = next((i for i, n in enumerate(numbers) if n != i + 1), len(numbers))
            raise demo.Failure(f"{emitted} packets emitted, {len(numbers)} stored, wrong from number {wrong + 1} on")
        self.packets = emitted
        print(f"flap: {emitted} packets emitted, all in the hub, once and in order; kinds of cut: {self.relay.summary()}")

    def receive(self, count):
        """The numbers of the packets in the hub, in order, once there are so many or two minutes have passed."""
        numbers, after, end = [], 0, time.monotonic() + 120
        while len(numbers) < count and time.monotonic() < end:
            page = self.api.call("GET", f"/api/bots/{self.bot}/packets?after={after}&limit=500")["items"]
            for item in page:
                after = item["id"]
                if item["type"] == "gap":
                    raise demo.Failure(f"packets were lost: {item}")
                if item["type"] == "tick":
                    numbers.append(item["json"]["n"])
            if not page:
                time.sleep(0.2)
        return numbers

    def judge(self):
        """How much each figure grows after the warm-up; whether all are flat."""
        # The first fifth is warm-up: caches fill, and the allocator finds its level.
        kept = [sample for sample in self.samples if sample[0] >= self.seconds / 5]
        is_flat = True
        names = [(1, "hub rss", "KB", FLAT_KILOBYTES), (2, "hub own memory", "KB", FLAT_KILOBYTES),
                 (3, "hub open files", "", FLAT_FILES), (4, "agent rss", "KB", FLAT_KILOBYTES),
                 (5, "agent own memory", "KB", FLAT_KILOBYTES), (6, "agent open files", "", FLAT_FILES)]
        for column, name, unit, limit in names:
            values = [sample[column] for sample in kept]
            third = max(1, len(values) // 3)
            first, last = statistics.median(values[:third]), statistics.median(values[-third:])
            slope = statistics.linear_regression([s[0] / 60 for s in kept], values).slope if len(kept) > 1 else 0
            verdict = "flat" if last - first <= limit else "GROWS"
            is_flat &= verdict == "flat"
            self.figures.append({"figure": name, "unit": unit, "first": first, "last": last,
                                 "slope a minute": round(slope, 1), "verdict": verdict})
            print(f"flap: {name:<17} {first:8.0f} → {last:8.0f} {unit:<2} slope {slope:+8.1f} {unit}/min  {verdict}")
        if not is_flat:
            raise demo.Failure(f"a figure grows; the logs are in {self.folder}")

    def stop(self, keeps):
        """Bot, agent and hub, then whatever still runs out of the run's folder."""
        self.is_over.set()
        try:
            if self.bot:
                self.api.call("POST", f"/api/bots/{self.bot}/stop")
                phase = lambda: self.api.call("GET", f"/api/bots/{self.bot}").get("phase") == "stopped"
                self.wait("the bot to stop", 20, phase)
        except (demo.Failure, OSError, KeyError) as failure:
            print(f"flap: the bot did not stop through the API: {failure}", file=sys.stderr)
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.relay.stop()
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if os.fsencode(self.folder) in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid():
                    os.kill(int(folder.name), signal.SIGKILL)
            except OSError:
                pass  # it has ended meanwhile
        if not keeps:
            shutil.rmtree(self.folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description="A hub and an agent over a link that is cut every few seconds.")
    parser.add_argument("--seconds", type=int, default=600, help="how long the link is cut")
    parser.add_argument("--seed", type=int, default=None, help="chooses the cuts; printed, so that a run can be repeated")
    parser.add_argument("--no-verdict", action="store_true", help="print how memory grows, but judge only the packets")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 31)
    print(f"flap: {arguments.seconds} s, seed {seed}", flush=True)
    flap = Flap(arguments.seconds, seed)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    status = 1
    try:
        flap.set_up()
        flap.flap()
        flap.settle()
        try:
            flap.judge()
        except demo.Failure:
            if not arguments.no_verdict:
                raise
        if os.environ.get("JSON"):
            print(json.dumps({"seconds": arguments.seconds, "cuts": flap.relay.cuts, "packets": flap.packets,
                              "figures": flap.figures}), flush=True)
        status = 0
    except KeyboardInterrupt:
        print("flap: interrupted", file=sys.stderr)
    except (demo.Failure, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
        print(f"flap: failed: {error}", file=sys.stderr)
        for name in ("hub", "agent"):
            log = demo.read(flap.folder / f"{name}.log") or ""
            print(f"flap: the last lines of the {name}'s log:", *log.splitlines()[-15:], sep="\n  ", file=sys.stderr)
    finally:
        flap.stop(keeps=status != 0)
    sys.exit(status)


if __name__ == "__main__":
    main()
