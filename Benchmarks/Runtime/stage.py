"""A hub and a paired agent on this machine for one benchmark, and what their processes use. Linux only.

HUB and AGENT name the programs; by default what `make build` left."""

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

root = pathlib.Path(__file__).resolve().parent.parent.parent


def program(variable, name):
    path = pathlib.Path(os.environ.get(variable, root / ".build/dist" / name)).resolve()
    if not path.exists():
        sys.exit(f"bench-runtime: {path} is missing: run make build, or name the program in {variable}")
    return path


def wait_for(what, condition, seconds=60):
    limit = time.monotonic() + seconds
    while True:
        try:
            if value := condition():
                return value
        except (OSError, KeyError):
            pass
        if time.monotonic() > limit:
            raise TimeoutError(f"no {what} after {seconds} s")
        time.sleep(0.05)


def memory_kib(pid):
    """Rss and Pss of one process."""
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("Rss:", "Pss:"))}


class Stage:
    """`with Stage(command) as stage:`; everything is gone afterwards, bots as well."""

    def __init__(self, native_command, agent_environment=None, folder=None):
        self.command, self.more = native_command, agent_environment or {}
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-runtime-", dir=folder))
        self.processes = []

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def _start(self):
        hub = program("HUB", "control-hub")
        data = self.folder / "hub"
        self.hub = self._spawn("hub", [hub, "serve", "--listen", "127.0.0.1:0", "--data-dir", data], {})
        address = data / "hub.address"
        wait_for("hub.address", lambda: address.exists() and address.read_text().endswith("\n"))
        self.url = "https://" + address.read_text().strip()
        self.tls = ssl.create_default_context(cafile=data / "tls/ca.pem")
        wait_for("ready hub", lambda: self.call("GET", "/readyz") is not None)
        made = self._run([hub, "operator", "add", "bench", "--role", "admin", "--json", "--data-dir", data])
        self.token = json.loads(made)["token"]
        first = self.add_agent("agent")
        self.agent, self.state, self.node = first["process"], first["state"], first["node"]

    def add_agent(self, name):
        """Pairs and starts one, and returns its process, state directory and node once it is online."""
        hub, agent, data, state = program("HUB", "control-hub"), program("AGENT", "edge-agent"), self.folder / "hub", \
            self.folder / name
        code = json.loads(self._run([hub, "enrollment", "create", "--json", "--data-dir", data]))["code"]
        self._run([agent, "enroll", "--hub", self.url, "--code", code, "--name", name, "--ca-file",
                   data / "tls/ca.pem", "--state-dir", state])
        environment = {"EDGE_NATIVE_COMMAND": self.command, **self.more}
        process = self._spawn(name, [agent, "run", "--state-dir", state], environment)
        nodes = wait_for("node online", lambda: [node for node in self.call("GET", "/api/nodes")["items"]
                                                 if node["name"] == name and node["health"] == "online"])
        return {"process": process, "state": state, "node": nodes[0]["id"]}

    def _spawn(self, name, arguments, environment):
        with open(self.folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen(arguments, stdout=log, stderr=log, env={**os.environ, **environment})
        self.processes.append(process)
        return process

    def _run(self, arguments):
        return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout

    token = None

    def call(self, method, path, body=None):
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.tls))
        with opener.open(request, timeout=30) as answer:
            content = answer.read()
        try:
            return json.loads(content or b"{}")
        except ValueError:
            return {}

    def start_bot(self, name, config=None):
        """Makes a bot, starts it, and returns its id once its process runs."""
        bot = self.call("POST", "/api/bots", {"name": name, "node_id": self.node, "config": config or {}})["id"]
        self.call("POST", f"/api/bots/{bot}/start", {})
        wait_for(f"running bot {name}", lambda: self.call("GET", f"/api/bots/{bot}").get("pid"))
        return bot

    def supervisor(self, bot):
        """The pid of the bot's supervisor."""
        state = json.loads((self.state / "bots" / bot / ".agent/supervisor.json").read_text())
        return state["supervisor"]["pid"]

    def __exit__(self, *_):
        for file in self.folder.glob("*/bots/*/.agent/supervisor.json"):
            try:
                os.kill(json.loads(file.read_text())["supervisor"]["pid"], signal.SIGTERM)
            except (OSError, ValueError, KeyError):
                pass
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if sys.exc_info()[0] is not None:
            for log in self.folder.glob("*.log"):
                sys.stderr.write(f"--- {log.name}\n{log.read_text()[-2000:]}\n")
        # The supervisors end after their bots; their directories go then.
        for _ in range(100):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                break
            time.sleep(0.05)
