#!/usr/bin/env python3
"""What telemetry costs the agent, and how it compares with ps, pidstat and a control group. Run it by `make bench-telemetry`.

Starts a hub and an agent in a temporary folder, places BOTS idle bots (20) and one that forks workers all the time, and
measures the agent's own processor time over SECONDS (120), once with a heartbeat of 15 s and figures in each, once without
any bot. Then it compares what the API says of the forking bot with what `ps`, `pidstat` (sysstat) and the bot's control group
say at the same moment. Prints tables; asserts nothing.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]

WORKER = r"""
import os, sys, time, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
group = sys.argv[1] if len(sys.argv) > 1 else ""
if group:
    open(group + "/cgroup.procs", "w").write(str(os.getpid()))
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
    os._exit(0)
while True:
    children = []
    for i in range(3):
        child = os.fork()
        if child == 0:
            burn(0.01)
        children.append(child)
    for child in children: os.waitpid(child, 0)
    time.sleep(0.05)
"""


class Hub:
    def __init__(self, programs, folder, interval):
        self.data = folder / "hub"
        environment = dict(os.environ, HUB_HEARTBEAT_INTERVAL=interval)
        self.log = open(folder / "hub.log", "w")
        self.process = subprocess.Popen(
            [programs / "control-hub", "serve", "--listen", "127.0.0.1:0", "--data-dir", self.data],
            env=environment, stdout=self.log, stderr=self.log)
        address = self.data / "hub.address"
        while not address.exists():
            if self.process.poll() is not None:
                sys.exit(f"the hub ended: {(folder / 'hub.log').read_text()}")
            time.sleep(0.1)
        self.url = "https://" + address.read_text().strip()
        self.context = ssl.create_default_context(cafile=self.data / "tls/ca.pem")
        added = subprocess.run(
            [programs / "control-hub", "operator", "add", "bench", "--role", "admin", "--json", "--data-dir", self.data],
            check=True, capture_output=True, text=True)
        self.token = json.loads(added.stdout)["token"]
        self.programs = programs

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", "Bearer " + self.token)
        if body is not None or method == "POST":
            request.data = json.dumps(body or {}).encode()
            request.add_header("Content-Type", "application/json")
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.context))
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)

    def code(self):
        made = subprocess.run(
            [self.programs / "control-hub", "enrollment", "create", "--json", "--data-dir", self.data],
            check=True, capture_output=True, text=True)
        return json.loads(made.stdout)["code"]


def processor_seconds(pid):
    """Of a process and all of its threads, to the nanosecond."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            total += int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0])
        except FileNotFoundError:
            pass
    return total / 1e9


def wait(what, probe, limit=120):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found = probe()
        if found:
            return found
        time.sleep(0.25)
    sys.exit(f"waited {limit} s in vain: {what}")


def control_group():
    """A new control group that counts processor time, and how to read it; None where none can be made."""
    for root, name, scale in [("/sys/fs/cgroup/cpuacct", "cpuacct.usage", 1e9), ("/sys/fs/cgroup", "cpu.stat", 1e6),
                              ("/sys/fs/cgroup/unified", "cpu.stat", 1e6)]:
        path = pathlib.Path(root) / f"edge-agent-bench-{os.getpid()}"
        try:
            path.mkdir()
        except OSError:
            continue
        if not (path / name).exists():
            path.rmdir()
            continue

        def read():
            text = (path / name).read_text()
            word = text.split()[0] if name == "cpuacct.usage" else text.split("usage_usec")[1].split()[0]
            return int(word) / scale
        return path, read
    return None


def descendants(pid):
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = open(f"/proc/{name}/stat").read().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(name))
            except (FileNotFoundError, ProcessLookupError):
                pass
    found, next_ones = [], [pid]
    while next_ones:
        for child in children.get(next_ones.pop(), []):
            found.append(child)
            next_ones.append(child)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bots", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / ".build/release")
    settings = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-telemetry-"))
    agent = hub = group = None
    bots = []
    try:
        hub = Hub(settings.programs, folder, "15s")
        state = folder / "agent"
        subprocess.run(
            [settings.programs / "edge-agent", "enroll", "--hub", hub.url, "--code", hub.code(), "--ca-file",
             hub.data / "tls/ca.pem", "--state-dir", state, "--name", "bench"],
            check=True, capture_output=True)
        group = control_group()
        (folder / "worker.py").write_text(WORKER)
        script = folder / "bot.sh"
        # The bot whose config asks for it works; all others are the sample bot with one sleeping child.
        script.write_text(
            "#!/bin/sh\nif grep -q work \"$2\"; then exec python3 " + str(folder / "worker.py") + " "
            + (str(group[0]) if group else "") + "; fi\nsleep 100000 &\nexec python3 "
            + str(ROOT / "samples/bot/sample-bot") + ' "$@"\n')
        script.chmod(0o755)
        # It joins a group of its own.
        profiles = {"default": {"command": [str(script), "--config", "{config}", "--workspace", "{workspace}"], "isolation": False}}
        environment = dict(os.environ, EDGE_PROFILES=json.dumps(profiles))
        agent = subprocess.Popen(
            [settings.programs / "edge-agent", "run", "--state-dir", state], env=environment,
            stdout=open(folder / "agent.log", "w"), stderr=subprocess.STDOUT)
        node = wait("the node is online", lambda: next(
            (n["id"] for n in hub.call("GET", "/api/nodes")["items"] if n["health"] == "online"), None))

        def measure(title):
            begin, at = processor_seconds(agent.pid), time.monotonic()
            time.sleep(settings.seconds)
            used, took = processor_seconds(agent.pid) - begin, time.monotonic() - at
            print(f"| {title} | {used * 1000:.1f} ms in {took:.0f} s | {100 * used / took:.3f} % of one core |", flush=True)

        print("| agent with a heartbeat of 15 s | processor time | share |\n| --- | --- | --- |")
        time.sleep(10)
        measure("no bot")
        for number in range(settings.bots):
            bots.append(hub.call("POST", "/api/bots", {"name": f"idle-{number}", "node_id": node})["id"])
            hub.call("POST", f"/api/bots/{bots[-1]}/start")
        wait("all bots are ready", lambda: all(hub.call("GET", f"/api/bots/{b}")["phase"] == "ready" for b in bots), 300)
        time.sleep(10)
        measure(f"{settings.bots} bots of two processes")

        worker = hub.call("POST", "/api/bots", {"name": "worker", "node_id": node, "config": {"mode": "work"}})["id"]
        bots.append(worker)
        hub.call("POST", f"/api/bots/{worker}/start")
        pid = wait("the worker runs", lambda: hub.call("GET", f"/api/bots/{worker}").get("pid"))
        hub.call("POST", f"/api/nodes/{node}/refresh")
        time.sleep(30)
        print("\n| processor time of a bot that forks all the time | from | seconds |\n| --- | --- | --- |")
        if group:
            print(f"| its control group, before | `{group[0].parent.name}` | {group[1]():.3f} |")
        hub.call("POST", f"/api/nodes/{node}/refresh")
        usage = hub.call("GET", f"/api/bots/{worker}")["usage"]
        print(f"| ours | `{usage['cpu_source']}` | {usage['cpu_seconds_total']:.3f} |")
        if group:
            print(f"| its control group, after | | {group[1]():.3f} |")
        supervisor = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
        tree = descendants(supervisor)
        shown = subprocess.run(["ps", "S", "-o", "bsdtime=", "-p", str(pid)], capture_output=True, text=True).stdout.split()
        print(f"| `ps S -o bsdtime` of the bot's own process, minutes:seconds | ended children waited for | {' '.join(shown)} |")
        os.kill(pid, signal.SIGSTOP)
        time.sleep(1)
        tree = [p for p in descendants(supervisor) if pathlib.Path(f"/proc/{p}").exists()]
        hub.call("POST", f"/api/nodes/{node}/refresh")
        usage = hub.call("GET", f"/api/bots/{worker}")["usage"]
        rss = subprocess.run(["ps", "-o", "rss=", "-p", ",".join(map(str, tree))], capture_output=True, text=True).stdout
        print("\n| memory of the stopped bot | KiB |\n| --- | --- |")
        print(f"| ours | {usage['rss_bytes'] // 1024} |")
        print(f"| `ps -o rss` summed | {sum(map(int, rss.split()))} |")
        os.kill(pid, signal.SIGCONT)
        if shutil.which("pidstat"):
            before = hub.call("POST", f"/api/nodes/{node}/refresh") and hub.call("GET", f"/api/bots/{worker}")["usage"]
            text = subprocess.run(
                ["pidstat", "-T", "ALL", "-u", "-p", str(pid), "20", "1"], capture_output=True, text=True,
                env=dict(os.environ, LC_ALL="C", S_COLORS="never")).stdout
            after = hub.call("POST", f"/api/nodes/{node}/refresh") and hub.call("GET", f"/api/bots/{worker}")["usage"]
            print("\n| over 20 s | processor time |\n| --- | --- |")
            print(f"| ours | {after['cpu_seconds_total'] - before['cpu_seconds_total']:.2f} s |")
            print("| `pidstat -T ALL` | see below |\n")
            print("\n".join("    " + line for line in text.splitlines() if line.strip()))
        else:
            print("\npidstat is not installed: apt-get install sysstat")
    finally:
        if hub:
            for bot in bots:
                try:
                    hub.call("POST", f"/api/bots/{bot}/stop")
                except OSError:
                    pass
            time.sleep(3)
        for process in (agent, hub and hub.process):
            if process:
                process.terminate()
                process.wait(30)
        if group:
            for _ in range(50):
                try:
                    group[0].rmdir()
                    break
                except OSError:
                    time.sleep(0.2)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
