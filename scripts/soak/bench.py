"""What every part of the soak stands on: a folder of its own, real programs, and the hub's API."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


class Failure(Exception):
    """Says what went wrong, with the end of the program's output where there is one."""


class Program:
    """A child process; its output goes to a file, and it is ended by its pid."""

    def __init__(self, name, arguments, folder, environment=None):
        self.name = name
        self.log = folder / f"{name}.log"
        with open(self.log, "ab") as output:
            # Nothing is inherited but what a program needs to start: no proxy variables of whoever runs this.
            self.process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], "HOME": str(folder), **(environment or {})},
            )

    @property
    def pid(self):
        return self.process.pid

    def tail(self, characters=2000):
        return self.log.read_text(errors="replace")[-characters:]

    def check(self):
        if self.process.poll() is not None:
            raise Failure(f"{self.name} ended with status {self.process.returncode}:\n{self.tail()}")

    def stop(self):
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Bench:
    """A hub, and whatever a part of the soak starts beside it. Everything is gone after `close`."""

    def __init__(self, binaries, heartbeat_seconds=15.0, keep=False):
        self.binaries = pathlib.Path(binaries)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="soak-"))
        # Proxies that drop their privileges read their files in here.
        self.folder.chmod(0o755)
        self.keep = keep
        self.programs = []
        self.hub = self.start(
            "hub",
            [self.program("control-hub"), "serve", "--listen", "127.0.0.1:0", "--data-dir", self.folder / "hub"],
            {"HUB_HEARTBEAT_INTERVAL": f"{round(heartbeat_seconds * 1000)}ms"},
        )
        address = self.folder / "hub" / "hub.address"
        self.wait("the hub writes its address", lambda: address.exists() and address.read_text().strip(), self.hub)
        self.hub_address = address.read_text().strip()
        self.hub_authority = self.folder / "hub" / "tls" / "ca.pem"
        self.tls = ssl.create_default_context(cafile=str(self.hub_authority))
        self.token = None
        self.wait("the hub is ready", lambda: self.get("/readyz")["status"] == "ok", self.hub)
        added = self.control("operator", "add", "soak", "--role", "admin", "--json")
        self.token = json.loads(added)["token"]

    def program(self, name):
        path = self.binaries / name
        if not path.exists():
            raise Failure(f"{path} is missing; build it with scripts/build.sh")
        return path

    def start(self, name, arguments, environment=None):
        program = Program(name, [str(argument) for argument in arguments], self.folder, environment)
        self.programs.append(program)
        return program

    def control(self, *arguments):
        return subprocess.run(
            [self.program("control-hub"), *arguments, "--data-dir", self.folder / "hub"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def get(self, path):
        request = urllib.request.Request(f"https://{self.hub_address}{path}")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.tls)
        )
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)

    def pair(self, name, url, authority, environment=None):
        """Pairs an agent by this way to the hub. Returns its state directory."""
        code = json.loads(self.control("enrollment", "create", "--json"))["code"]
        state = self.folder / f"agent-{name}"
        enrolled = self.start(
            f"enroll-{name}",
            [
                self.program("edge-agent"), "enroll", "--hub", url, "--code", code, "--name", name,
                "--ca-file", authority, "--state-dir", state,
            ],
            environment,
        )
        if enrolled.process.wait(60) != 0:
            raise Failure(f"{name}: enroll failed:\n{enrolled.tail()}")
        return state

    def agent(self, name, state, environment=None):
        return self.start(
            f"agent-{name}", [self.program("edge-agent"), "run", "--state-dir", state], environment
        )

    def nodes(self):
        """The hub's nodes by name."""
        return {node["name"]: node for node in self.get("/api/nodes?limit=500")["items"]}

    def wait(self, what, probe, program=None, seconds=60):
        """Asks until the answer is true: another process does not say when it is ready."""
        deadline = time.monotonic() + seconds
        error = None
        while time.monotonic() < deadline:
            if program:
                program.check()
            try:
                if answer := probe():
                    return answer
            except (OSError, ValueError, KeyError) as caught:
                error = caught
            time.sleep(0.05)
        raise Failure(f"waited {seconds} s in vain: {what} ({error})\n{program.tail() if program else ''}")

    def listening(self, port, program):
        def probe():
            with contextlib.closing(socket.create_connection(("127.0.0.1", port), 1)):
                return True

        self.wait(f"{program.name} listens", probe, program)

    def close(self):
        for program in reversed(self.programs):
            program.stop()
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)


def free_port():
    """A port that was free a moment ago, for programs that cannot say which one they got."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def resident_kib(pid):
    """Resident memory of a process."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def descriptors(pid):
    """How many files a process holds open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
