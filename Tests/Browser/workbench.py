"""A real hub and real agents on this machine, for the browser to look at. Everything they write is under one folder."""

import base64
import hashlib
import json
import os
import pathlib
import secrets
import shlex
import shutil
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BROWSER_TEST_PROGRAMS", ROOT / ".build" / "debug"))
HUB, AGENT = str(BUILD / "control-hub"), str(BUILD / "edge-agent")


class Failure(Exception):
    pass


def wait(what, look, limit=60):
    """Asks until there is an answer. Another process gives no signal to wait for."""
    end = time.monotonic() + limit
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise Failure(f"no {what} within {limit} s")
        time.sleep(0.1)


class Program:
    """A program with its output in a file. `kill` is what a crash is; `stop` asks first."""

    def __init__(self, arguments, log, **environment):
        self.log = pathlib.Path(log)
        keep = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        folder = str(self.log.parent)
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                cwd=folder, env={**keep, "HOME": folder, "NO_PROXY": "*", **environment})

    @property
    def is_running(self):
        return self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.is_running:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


class Hub:
    """`settings` are flags of `control-hub serve`, without their dashes."""

    def __init__(self, folder, **settings):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        # A deployment does not begin a step while a file of that name is here.
        self.held = self.folder / "held"
        self.held.mkdir(exist_ok=True)
        self.data = self.folder / "hub"
        flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        self.arguments = [HUB, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(self.data), *flags]
        self.start()

    def start(self, **environment):
        (self.data / "hub.address").unlink(missing_ok=True)
        self.program = Program(self.arguments, self.folder / "hub.log", HUB_TEST_HOLD_DEPLOYMENTS=str(self.held), **environment)
        address = wait("address of the hub", lambda: self.program.is_running and self._address() or self._ended())
        self.url = f"https://{address}"
        self.port = address.rsplit(":", 1)[1]
        self.authority = self.data / "tls" / "ca.pem"
        wait("certificate", self.authority.exists)

    def _address(self):
        try:
            text = (self.data / "hub.address").read_text()
        except OSError:
            return None
        return text.strip() if text.endswith("\n") else None

    def _ended(self):
        if not self.program.is_running:
            raise Failure(f"the hub ended: {self.program.log.read_text()[-2000:]}")
        return None

    def run(self, *arguments):
        done = subprocess.run([HUB, *arguments, "--json", "--data-dir", str(self.data)], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise Failure(f"control-hub {' '.join(arguments)}: {done.stderr}")
        return json.loads(done.stdout)

    def operator(self, name, role="admin"):
        return self.run("operator", "add", name, "--role", role)

    def call(self, token, method, path, body=None):
        text = self.text(token, method, path, json.dumps(body or {}) if body is not None or method == "POST" else None)
        return json.loads(text) if text.strip() else {}

    def text(self, token, method, path, body=None):
        """The same with JSON as it is written."""
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"Bearer {token}")
        if body is not None:
            request.data = body.encode()
            request.add_header("Content-Type", "application/json")
        context = ssl.create_default_context(cafile=str(self.authority))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        with opener.open(request, timeout=30) as answer:
            return answer.read().decode()

    @property
    def spki(self):
        """The digest of the hub's public key, by which the browser may trust it."""
        certificate = ssl.get_server_certificate(("127.0.0.1", int(self.port)))
        key = subprocess.run(["openssl", "x509", "-pubkey", "-noout"], input=certificate, capture_output=True, text=True, check=True).stdout
        der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=key.encode(), capture_output=True, check=True).stdout
        return base64.b64encode(hashlib.sha256(der).digest()).decode()

    def stop(self):
        self.program.stop()


class Agent:
    """An agent's state on this machine, and the agent that runs from it."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state = self.folder / "state"
        self.program = None

    def enroll(self, command):
        """Runs the command that the page shows, as an operator would paste it."""
        done = self._run(command)
        if done.returncode != 0:
            raise Failure(f"{command}: {done.stderr or done.stdout}")

    def refused(self, command):
        """The same with a command that must fail."""
        if self._run(command).returncode == 0:
            raise Failure(f"{command} was not refused")

    def _run(self, command):
        words = shlex.split(command)
        if words[0] != "edge-agent":
            raise Failure(f"the page shows no command of the agent: {command}")
        return subprocess.run([AGENT, *words[1:], "--state-dir", str(self.state)], capture_output=True, text=True, timeout=60)

    def start(self, profiles=None, machine_id=None, **environment):
        """`profiles`: more runtime profiles than the default one, as in the agent's configuration. `machine_id`: a file
        that is /etc/machine-id for this agent, in a mount namespace of its own, so that it is on another machine."""
        wrapper = [*namespace(), "sh", "-c", 'mount --bind "$0" /etc/machine-id && exec "$@"', str(machine_id)] if machine_id else []
        more = {"EDGE_PROFILES": json.dumps(profiles), **environment} if profiles else environment
        # By its name alone, as on a machine where it is installed; the page shows the command.
        bots = self.folder / "bin"
        bots.mkdir(exist_ok=True)
        shutil.copy(ROOT / "samples" / "bot" / "sample-bot", bots / "sample-bot")
        self.program = Program([*wrapper, AGENT, "run", "--state-dir", str(self.state)], self.folder / "agent.log",
                               PATH=f"{bots}:{os.environ['PATH']}", EDGE_NATIVE_COMMAND="sample-bot --config {config} --workspace {workspace}", **more)

    def clone(self, folder):
        """Another machine with a copy of this one's disk."""
        twin = Agent(folder)
        shutil.copytree(self.state, twin.state, ignore=lambda place, names: [name for name in names if not (pathlib.Path(place) / name).is_file() and not (pathlib.Path(place) / name).is_dir()])
        return twin

    def stop(self):
        """Stops the agent, then what it left running on purpose."""
        if self.program:
            self.program.stop()
        for number in signal.SIGTERM, signal.SIGKILL:
            left = self._left()
            for pid in left:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            end = time.monotonic() + 12
            while left and self._left() and time.monotonic() < end:
                time.sleep(0.1)

    def _left(self):
        found = []
        for file in self.state.glob("bots/**/supervisor.json"):
            try:
                recorded = json.loads(file.read_text())
            except (OSError, ValueError):
                continue
            found += [pid for pid in map(same_process, (recorded.get("supervisor"), recorded.get("bot"))) if pid]
        return found


def namespace():
    """What runs a program with mounts of its own."""
    return ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]


def can_have_mounts():
    """Not everybody may, in every container."""
    return os.path.exists("/etc/machine-id") and subprocess.run([*namespace(), "sh", "-c", "mount --bind /etc/hostname /etc/machine-id"], capture_output=True, check=False).returncode == 0


def same_process(recorded):
    """The pid, if the process that has it now started when the recorded one did."""
    try:
        stat = pathlib.Path(f"/proc/{recorded['pid']}/stat").read_text().rpartition(")")[2].split()
    except (OSError, KeyError, TypeError):
        return None
    started = [str(value) for key, value in recorded.items() if "start" in key]
    return recorded["pid"] if stat[0] != "Z" and stat[19] in started else None


class Fleet:
    """Simulated agents over the real link (Benchmarks/Link/load/nodes.c): one connection, session and heartbeat each."""

    def __init__(self, hub, folder, names, heartbeat_seconds=15):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.count = len(names)
        tool = self.folder / "nodes"
        subprocess.run(["cc", "-O2", "-o", str(tool), str(ROOT / "Benchmarks/Link/load/nodes.c"), "-lssl", "-lcrypto", "-lz", "-lpthread"], check=True)
        tokens = [f"edge_{secrets.token_urlsafe(32)}" for _ in names]
        # The hub must be stopped: nodes are put into its database as enrolling them one by one would have.
        now = int(time.time() * 1000)
        with sqlite3.connect(hub.data / "hub.sqlite") as database:
            database.execute("PRAGMA foreign_keys = ON")
            for number, (name, token) in enumerate(zip(names, tokens)):
                node = f"node_{now:010x}{number:016x}"
                database.execute("INSERT INTO nodes (id, name, created_at) VALUES (?, ?, ?)", (node, name, now))
                database.execute("INSERT INTO node_tokens (token_hash, node_id, created_at, first_used_at) VALUES (?, ?, ?, ?)",
                                 (hashlib.sha256(token.encode()).digest(), node, now, now))
        database.close()
        self.tokens = self.folder / "tokens"
        self.tokens.write_text("\n".join(tokens) + "\n")
        self.tool, self.hub, self.heartbeat_seconds = tool, hub, heartbeat_seconds
        self.process = None

    def connect(self):
        self.process = subprocess.Popen(
            [str(self.tool), self.hub.port, str(self.tokens), str(self.count), "tls", str(self.heartbeat_seconds), str(self.hub.authority)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if not self.process.stdout.readline().startswith("connected"):
            raise Failure("the simulated nodes could not connect")

    def disconnect(self):
        """How many sessions lived to the end."""
        self.process.stdin.close()
        words = self.process.stdout.readline().split()
        self.process.wait(60)
        self.process = None
        return int(words[1]) if words[:1] == ["alive"] else 0


def check_programs():
    for program in HUB, AGENT:
        if not os.path.exists(program):
            sys.exit(f"{program} is missing: run make browser-test, or name the folder in BROWSER_TEST_PROGRAMS")
