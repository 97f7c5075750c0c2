#!/usr/bin/env python3
"""What an idle node costs its hub: a release control-hub, NODES=10000 enrolled nodes on loopback that say Hello, open
their packet stream and send heartbeats, over plain HTTP, over TLS, and over TLS with compression agreed on.

The figures are the growth of the hub's resident memory per node, from before the first connection to after all are
established, and after SECONDS_IDLE=60 more; beside it the kernel's slab memory per socket end. MODES picks the rows;
with BURST_KIB=256 each node first sends so much at once, to see what stays of that. JSON=1 prints the rows as JSON, HUB
names the program (default: what `make build` left). Linux only."""

import hashlib
import json
import os
import pathlib
import secrets
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

here = pathlib.Path(__file__).resolve().parent
hub_program = pathlib.Path(os.environ.get("HUB", here.parent.parent / ".build/dist/control-hub")).resolve()
count = int(os.environ.get("NODES", "10000"))
idle_seconds = int(os.environ.get("SECONDS_IDLE", "60"))
heartbeat_seconds = int(os.environ.get("HEARTBEAT_SECONDS", "15"))
modes = os.environ.get("MODES", "plain tls deflate").split()
limit_seconds = 300


def fail(message):
    sys.exit(f"memory.py: {message}")


def wait_for(what, condition):
    limit = time.monotonic() + 60
    while not condition():
        if time.monotonic() > limit:
            fail(f"no {what} after 60 s")
        time.sleep(0.05)


def memory_kib(pid, *names):
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.split(":")[0] in names)


def slab_kib():
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Slab:"):
            return int(line.split()[1])
    return 0


class Hub:
    def __init__(self, data, mode):
        self.data = data
        self.log = open(data / "hub.log", "ab")
        arguments = [hub_program, "serve", "--listen", "127.0.0.1:0", "--data-dir", data, "--hostname", "localhost",
                     "--heartbeat-interval", f"{heartbeat_seconds}s", "--log-level", "warning",
                     # A session begins its heartbeats when all are there, which takes a while.
                     "--degraded-after", "150s", "--offline-after", "300s"]
        if mode == "plain":
            arguments.append("--insecure-http")
        address = data / "hub.address"
        # All at once: what is measured is what they cost when they are there, not how they are let in.
        environment = {**os.environ, "HUB_ADMISSION_RATE": "100000", "HUB_ADMISSION_BURST": str(count)}
        self.process = subprocess.Popen(arguments, stdout=self.log, stderr=self.log, env=environment)
        wait_for("hub.address", lambda: self.process.poll() is not None or address.exists())
        if self.process.poll() is not None:
            fail("the hub ended: " + (data / "hub.log").read_text()[-2000:])
        wait_for("whole address", lambda: address.read_text().endswith("\n"))
        self.port = address.read_text().strip().rsplit(":", 1)[1]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def enroll(data):
    """As many nodes as enrolling them one by one would have made, with tokens ready to use."""
    now = int(time.time() * 1000)
    tokens = ["edge_" + secrets.token_urlsafe(32) for _ in range(count)]
    with sqlite3.connect(data / "hub.sqlite") as database:
        database.execute("PRAGMA foreign_keys = ON")
        for number, token in enumerate(tokens):
            node = f"node_{now:010x}{number:016x}"
            database.execute("INSERT INTO nodes (id, name, created_at) VALUES (?, ?, ?)", (node, f"n{number}", now))
            database.execute("INSERT INTO node_tokens (token_hash, node_id, created_at, first_used_at) VALUES (?, ?, ?, ?)",
                             (hashlib.sha256(token.encode()).digest(), node, now, now))
    database.close()
    path = data / "tokens"
    path.write_text("\n".join(tokens) + "\n")
    return path


def measure(mode, tool):
    with tempfile.TemporaryDirectory(prefix="hub-memory-") as folder:
        data = pathlib.Path(folder)
        Hub(data, mode).stop()
        tokens = enroll(data)
        hub = Hub(data, mode)
        try:
            time.sleep(3)
            pid, slab = hub.process.pid, slab_kib()
            before = memory_kib(pid, "Rss")
            arguments = [tool, hub.port, tokens, str(count), mode, str(heartbeat_seconds), data / "tls" / "ca.pem"]
            load = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            line = load.stdout.readline().split()
            if line[:1] != ["connected"]:
                fail(f"the nodes could not connect; the hub says: {(data / 'hub.log').read_text()[-2000:]}")
            connected, slab_after = memory_kib(pid, "Rss"), slab_kib()
            time.sleep(idle_seconds)
            idle = memory_kib(pid, "Rss")
            threads = len(os.listdir(f"/proc/{pid}/task"))
            if dump := os.environ.get("SMAPS"):
                pathlib.Path(f"{dump}.{mode}").write_text(pathlib.Path(f"/proc/{pid}/smaps").read_text())
            load.stdin.close()
            words = load.stdout.readline().split()
            load.wait(60)
            if words[:2] != ["alive", str(count)]:
                fail(f"not every session lived: {' '.join(words)}")
            return {
                "mode": mode, "nodes": count, "connect_seconds": float(line[2]), "idle_seconds": idle_seconds,
                "hub_rss_before_kib": before, "hub_rss_connected_kib": connected, "hub_rss_idle_kib": idle,
                "kib_per_node_connected": round((connected - before) / count, 2),
                "kib_per_node_idle": round((idle - before) / count, 2),
                "kernel_slab_kib_per_socket": round((slab_after - slab) / count / 2, 2),
                "heartbeats": int(words[3]), "threads": threads,
            }
        finally:
            hub.stop()


def main():
    if not hub_program.exists():
        fail(f"{hub_program} is missing: run make build, or name the program in HUB")
    with tempfile.TemporaryDirectory(prefix="nodes-") as folder:
        tool = pathlib.Path(folder) / "nodes"
        subprocess.run(["cc", "-O2", "-Wall", "-o", tool, here / "load/nodes.c", "-lssl", "-lcrypto", "-lz", "-lpthread"],
                       check=True)
        rows = []
        for mode in modes:
            rows.append(measure(mode, tool))
            if os.environ.get("JSON") == "1":
                print(json.dumps(rows[-1]), flush=True)
        if os.environ.get("JSON") == "1":
            return
        print(f"| {count} idle nodes | KiB a node, connected | KiB a node, after {idle_seconds} s | hub RSS MiB before |"
              " hub RSS MiB after | kernel KiB a socket |\n|---|--:|--:|--:|--:|--:|")
        for row in rows:
            print(f"| {row['mode']} | {row['kib_per_node_connected']} | {row['kib_per_node_idle']} |"
                  f" {row['hub_rss_before_kib'] / 1024:.1f} | {row['hub_rss_idle_kib'] / 1024:.1f} |"
                  f" {row['kernel_slab_kib_per_socket']} |")


main()
