"""A hub and three nodes on loopback, each with a state directory of its own, and what can be done to them from outside."""

import collections
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

from stage import ROOT, SAMPLE, Failure, Stage, wait

# Bots end their turns at once, and nobody waits for a node that is away for longer than a run lasts.
SETTINGS = {"HUB_HEARTBEAT_INTERVAL": "1s", "HUB_SESSION_BURST": "100000", "HUB_ADMISSION_BURST": "100000",
            "HUB_SNAPSHOTS_KEPT": "0"}
# Another machine for the programs in it: its processes, its name in /etc/machine-id, its boot.
ELSEWHERE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
             'mount --bind "$0" /etc/machine-id && mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"']


def can_have_machines():
    """Whether this user may make the namespaces that a second machine is made of."""
    return os.path.exists("/etc/machine-id") and subprocess.run(
        [*ELSEWHERE, "/etc/hostname", "/etc/hostname", "true"], capture_output=True, check=False).returncode == 0


class Node:
    """An agent with its state directory; `machine` is a folder with the identity of another machine, or None."""

    def __init__(self, name, folder, machine=None):
        self.name, self.state, self.machine = name, folder / name / "state", machine
        self.state.parent.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{name}.log"
        self.id = self.process = None

    @property
    def is_up(self):
        return self.process is not None and self.process.poll() is None


Running = collections.namedtuple("Running", "node bot pid began")


class Fleet(Stage):
    """The stage of the API's tests with more nodes, and a hub whose database can be put back."""

    def __init__(self, programs, folder):
        super().__init__(programs, folder)
        self.environment.update(SETTINGS)
        self.nodes = [Node(name, folder) for name in ("attic", "barn", "cellar")]
        self.watch = Watch(self)
        self.token = None

    def begin(self):
        self.raise_hub()
        self.token = self.operator("keeper", "admin")["token"]
        for node in self.nodes:
            self.enroll(node)
        for node in self.nodes:
            self.raise_node(node)
        for node in self.nodes:
            self.await_online(node)
        self.watch.start()

    # The API

    def call(self, method, path, body=None, expect=True, **headers):
        """The answer; one that is an error raises where it is not expected."""
        if method in ("POST", "PUT", "PATCH") and body is None:
            body = {}
        answer = self.send(method, path, token=self.token, body=body, headers=headers)
        if expect and answer.status >= 300:
            raise Failure(f"{method} {path}: {answer.status} {answer.body.decode(errors='replace')[:400]}")
        return answer

    def get(self, path):
        return self.call("GET", path).json

    def items(self, path):
        """All pages of a list."""
        found, cursor, mark = [], "", "&" if "?" in path else "?"
        while True:
            page = self.get(f"{path}{cursor}")
            found += page["items"]
            if not page.get("next_cursor"):
                return found
            cursor = f"{mark}cursor={page['next_cursor']}"

    # The hub

    def stop_hub(self, at_once):
        (self.hub.kill if at_once else self.hub.terminate)()
        self.hub.wait(30)
        self.processes.remove(self.hub)

    def start_hub(self):
        (self.data / "hub.address").unlink(missing_ok=True)
        self.raise_hub()

    def back_up(self, file):
        self.run(self.hub_program, "backup", str(file), "--data-dir", str(self.data))

    def restore(self, file):
        self.run(self.hub_program, "restore", str(file), "--data-dir", str(self.data))

    # Nodes

    def enroll(self, node, *more, code=None):
        code = code or self.call("POST", "/api/enrollments").json["code"]
        self.run(self.agent_program, "enroll", *more, "--hub", self.url, "--code", code, "--name", node.name,
                 "--state-dir", str(node.state))
        node.id = json.loads((node.state / "identity.json").read_text())["node_id"]

    def raise_node(self, node):
        words = [self.agent_program, "run", "--state-dir", str(node.state)]
        if node.machine:
            words = [*ELSEWHERE, str(node.machine / "machine-id"), str(node.machine / "boot-id"), *words]
        node.process = self.start(words, node.log, EDGE_NATIVE_COMMAND=SAMPLE, EDGE_TEST_LONGEST_WAIT_MS="500")

    def is_online(self, node):
        return self.get(f"/api/nodes/{node.id}")["health"] == "online"

    def await_online(self, node):
        wait(f"{node.name} to be online", lambda: self.is_online(node), 90)

    def kill_agent(self, node):
        node.process.kill()
        node.process.wait()
        self.processes.remove(node.process)

    def cut_power(self, node):
        """Everything of the node ends at once."""
        self.kill_agent(node)
        mark = os.fsencode(f"{node.state}/")
        end = time.monotonic() + 20
        while left := [pid for pid in pids() if mark in (command(pid) or b"") and is_alive(pid)]:
            if time.monotonic() > end:
                raise Failure(f"processes of {node.name} do not end: {left}")
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.02)

    def running(self):
        """Every process of a bot: (node's name, bot, pid, when it began)."""
        found = []
        for pid in pids():
            words = (command(pid) or b"").split(b"\0")
            if len(words) < 2 or not words[1].endswith(b"/sample-bot") or b"--workspace" not in words:
                continue
            workspace = pathlib.Path(os.fsdecode(words[words.index(b"--workspace") + 1]))
            for node in self.nodes:
                began = is_alive(pid)
                if node.state in workspace.parents and began:
                    found.append(Running(node.name, workspace.relative_to(node.state / "bots").parts[0], pid, began))
        return found

    def words(self):
        """What all programs have written."""
        return "\n".join(self.read(file) or "" for file in [self.logs[0], *(node.log for node in self.nodes)])

    def strike(self):
        self.watch.stop()
        for node in self.nodes:
            if node.is_up:
                try:
                    self.cut_power(node)
                except Failure:
                    pass
        super().strike()


class Watch:
    """Looks at all processes again and again, and remembers bots that ran twice at the same time."""

    def __init__(self, fleet):
        self.fleet, self.doubles, self.is_over = fleet, {}, threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def start(self):
        self.thread.start()

    def stop(self):
        self.is_over.set()
        if self.thread.is_alive():
            self.thread.join()

    def look(self):
        while not self.is_over.wait(0.1):
            by_bot = collections.defaultdict(list)
            for each in self.fleet.running():
                by_bot[each.bot].append(each)
            for bot, found in by_bot.items():
                # Looked at one after the other: only those count that are all there at the end as well.
                if len(found) > 1 and all(is_alive(each.pid) == each.began for each in found):
                    self.doubles.setdefault((bot, *sorted({each.node for each in found})), found)


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def command(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None


def is_alive(pid):
    """When the process began, as the kernel counts it; None where it has ended."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
