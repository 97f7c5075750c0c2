#!/usr/bin/env python3
"""Moves a bot between two agents through a hub, all release builds on this machine over TLS, with workspaces of SIZES
(default "10M 1G 5G"; `100000x1K` is that many files of that size), of which 1 % is written anew between the copy that is
made while the bot runs and the stop; beside rsync -a --delete for the same bytes and as much change, over its daemon on
loopback, and over ssh where an ssh server is installed. FOLDER takes it all (twice the largest size); JSON=1. Linux only."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent / "Runtime"))

import peers
import tree
from stage import Stage, wait_for

SHARE = 0.01
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def size(text):
    count, _, each = text.rpartition("x")
    number = int(float(each[:-1]) * UNITS[each[-1]]) if each[-1] in UNITS else int(each)
    return (int(count), number) if count else number


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid, name):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+)", text)[1]) / 1024


def link_bytes(pid):
    """What a process has sent over its connections."""
    text = subprocess.run(["ss", "-tinpHO", "state", "established"], capture_output=True, text=True, check=True).stdout
    mine = [line for line in text.splitlines() if f"pid={pid}," in line]
    return sum(int(number) for line in mine for number in re.findall(r"bytes_sent:(\d+)", line))


class Steps(threading.Thread):
    """When each step of a deployment was stored, by the hub's events and the machine's clock."""

    def __init__(self, stage, bot):
        super().__init__(daemon=True)
        request = urllib.request.Request(f"{stage.url}/api/events?types=deployment.updated&bot_id={bot}",
                                         headers={"Authorization": f"Bearer {stage.token}",
                                                  "Accept": "text/event-stream"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}),
                                             urllib.request.HTTPSHandler(context=stage.tls))
        self.stream = opener.open(request, timeout=600)
        self.at, self.end, self.changed = {}, None, threading.Condition()

    def run(self):
        for line in self.stream:
            if not line.startswith(b"data:"):
                continue
            now, event = time.monotonic(), json.loads(line[5:])
            if "step" not in event:
                continue
            with self.changed:
                self.at.setdefault(event["step"], now)
                if event["state"] not in ("running", "returning"):
                    self.end = event["state"]
                    self.at["end"] = now
                self.changed.notify_all()
                if self.end:
                    return

    def wait(self, step, seconds=1200):
        with self.changed:
            if not self.changed.wait_for(lambda: step in self.at or self.end, seconds) or step not in self.at:
                raise RuntimeError(f"no step {step}: {self.at}, {self.end}")


def move(stage, bot, workspace, target, seed):
    """One deployment with a change before the stop. Returns its figures."""
    programs = {"hub": stage.hub.pid, "source": stage.agent.pid, "target": target["process"].pid}
    go = stage.folder / f"go-{seed}"
    stage.call("POST", f"/api/bots/{bot}/messages", {"text": f"wait for {go}"})
    wait_for("open turn", lambda: any(one["type"] == "user_message" for one in
                                      stage.call("GET", f"/api/bots/{bot}/packets?limit=500")["items"]))
    before = {"rss": memory_mib(programs["hub"], "VmRSS"), "sent": link_bytes(programs["source"]),
              "cpu": {name: cpu_seconds(pid) for name, pid in programs.items()}}
    # Makes the peak begin here.
    pathlib.Path(f"/proc/{programs['hub']}/clear_refs").write_text("5")
    steps = Steps(stage, bot)
    steps.start()
    deployment = stage.call("POST", f"/api/bots/{bot}/deploy", {"node_id": target["node"]})["id"]
    steps.wait("stop")
    first_sent = link_bytes(programs["source"])
    changed, changed_bytes = tree.change(workspace, SHARE, seed)
    wanted = tree.facts(workspace)
    digests = {path.relative_to(workspace): hashlib.sha256(path.read_bytes()).digest() for path in changed}
    go.touch()
    steps.wait("end")
    if steps.end != "succeeded":
        raise RuntimeError(f"the deployment {steps.end}: {stage.call('GET', f'/api/deployments/{deployment}')}")
    document = stage.call("GET", f"/api/deployments/{deployment}")
    there = target["state"] / "bots" / bot / "workspace"
    if tree.facts(there) != wanted:
        raise RuntimeError("the workspace is not the same on the target")
    for path, digest in digests.items():
        if hashlib.sha256((there / path).read_bytes()).digest() != digest:
            raise RuntimeError(f"{path} is not the same on the target")
    first = steps.at["stop"] - steps.at["pre_copy"]
    downtime = document["downtime_ms"] / 1000
    after_stop = {name: round(1000 * (steps.at[later] - steps.at[name])) for name, later in
                  [("delta_copy", "verify"), ("verify", "start"), ("start", "healthy"), ("healthy", "commit")]}
    return {
        "first_s": first, "second_s": downtime, "total_s": first + downtime, "downtime_ms": document["downtime_ms"],
        "delta_s": after_stop["delta_copy"] / 1000, "steps_ms": after_stop, "changed_bytes": changed_bytes,
        "first_bytes": first_sent - before["sent"], "second_bytes": link_bytes(programs["source"]) - first_sent,
        "hub_rss_mib": {"before": before["rss"], "peak": memory_mib(programs["hub"], "VmHWM"),
                        "after": memory_mib(programs["hub"], "VmRSS")},
        "cpu_s": {name: cpu_seconds(pid) - before["cpu"][name] for name, pid in programs.items()},
    }


def copy(kind, folder, workspace, seed):
    """Two passes of a peer, with a change between them."""
    os.sync()
    with kind(folder / "peer", workspace) as peer:
        first, first_bytes = peer.copy()
        _, changed_bytes = tree.change(workspace, SHARE, seed)
        second, second_bytes = peer.copy()
        if tree.facts(peer.target) != tree.facts(workspace):
            raise RuntimeError(f"{kind.name} made no copy")
    return {"first_s": first, "second_s": second, "total_s": first + second, "first_bytes": first_bytes,
            "second_bytes": second_bytes, "changed_bytes": changed_bytes}


def measure(text, folder):
    command = f"{sys.executable} {here / 'bot.py'} --config {{config}} --workspace {{workspace}}"
    with Stage(command, folder=folder) as stage:
        target = stage.add_agent("target")
        bot = stage.start_bot("traveller")
        wait_for("ready bot", lambda: stage.call("GET", f"/api/bots/{bot}")["phase"] == "ready")
        workspace = stage.state / "bots" / bot / "workspace"
        files, total = tree.make(workspace, size(text), seed=1)
        rows = {}
        for seed, kind in enumerate([peers.Daemon, peers.OverSSH], 2):
            if kind is peers.OverSSH and not (kind.server_program.exists() and shutil.which("ssh")):
                continue
            rows[kind.name] = copy(kind, stage.folder, workspace, seed)
        os.sync()
        rows["through the hub"] = move(stage, bot, workspace, target, seed=9)
    return {"workspace": text, "files": files, "bytes": total, "rows": rows}


def show(results):
    print("| workspace | | total s | as the bot runs s | after the change s | MB moved | downtime ms | hub's memory MiB |")
    print("| --- | --- | --: | --: | --: | --: | --: | --: |")
    for result in results:
        daemon = result["rows"][peers.Daemon.name]
        for name, row in result["rows"].items():
            times = row["total_s"] / daemon["total_s"]
            memory = row.get("hub_rss_mib")
            print(f"| {result['workspace']}, {result['files']} files | {name} | {row['total_s']:.2f} ({times:.2f} x) "
                  f"| {row['first_s']:.2f} | {row['second_s']:.2f} "
                  f"| {row['first_bytes'] / 1e6:.1f} + {row['second_bytes'] / 1e6:.1f} | {row.get('downtime_ms', '')} | "
                  + (" → ".join(f"{memory[key]:.0f}" for key in ("before", "peak", "after")) if memory else "") + " |")
    print()
    for result in results:
        row = result["rows"]["through the hub"]
        steps = ", ".join(f"{name} {value} ms" for name, value in row["steps_ms"].items())
        print(f"{result['workspace']}: {steps}; processor seconds: "
              + ", ".join(f"{name} {value:.2f}" for name, value in row["cpu_s"].items()))


def main():
    sizes = os.environ.get("SIZES", "10M 1G 5G").split()
    results = []
    for text in sizes:
        with tempfile.TemporaryDirectory(prefix="bench-migrate-", dir=os.environ.get("FOLDER")) as folder:
            result = measure(text, pathlib.Path(folder))
        results.append(result)
        if os.environ.get("JSON") == "1":
            print(json.dumps(result), flush=True)
    if os.environ.get("JSON") != "1":
        show(results)


main()
