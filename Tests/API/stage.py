"""A real hub, a real agent and a bot for the tests of the API, and ways to talk to them."""

import http.client
import json
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLE = f"{shlex.quote(sys.executable)} {ROOT}/samples/bot/sample-bot --config {{config}} --workspace {{workspace}}"


class Failure(Exception):
    pass


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def code(self):
        return (self.json or {}).get("code") if isinstance(self.json, dict) else None


def wait(what, probe, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = probe()
        if value:
            return value
        time.sleep(0.05)
    raise Failure(f"waited {seconds} s in vain for {what}")


class Stage:
    """Plain HTTP on loopback, so that the tests can write any bytes they like into the socket."""

    def __init__(self, programs, folder):
        self.hub_program, self.agent_program = (str(programs / name) for name in ("control-hub", "edge-agent"))
        self.folder = folder
        self.data = folder / "hub"
        self.logs = [folder / "hub.log", folder / "agent.log"]
        keep = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        self.environment = {**keep, "HOME": str(folder), "NO_PROXY": "*", "HUB_HEARTBEAT_INTERVAL": "1s"}
        self.processes = []
        self.secrets = {}
        self.addresses = 0
        self.listen = "127.0.0.1:0"

    def start(self, arguments, log, **more):
        process = subprocess.Popen(arguments, env={**self.environment, **more}, stdin=subprocess.DEVNULL,
                                   stdout=open(log, "ab"), stderr=subprocess.STDOUT, cwd=self.folder)
        self.processes.append(process)
        return process

    def run(self, *arguments):
        done = subprocess.run(arguments, env=self.environment, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise Failure(f"{arguments[0]} {arguments[1]}: {done.stderr or done.stdout}")
        return done.stdout

    def raise_hub(self):
        self.hub = self.start([self.hub_program, "serve", "--listen", self.listen, "--data-dir", str(self.data),
                               "--insecure-http", "--log-level", "debug"], self.logs[0])
        text = wait("the hub to listen", lambda: self.read(self.data / "hub.address"))
        host, port = text.strip().rsplit(":", 1)
        self.address = (host, int(port))
        # A hub that is started again is where its agent looks for it.
        self.listen = text.strip()
        self.url = f"http://{text.strip()}"
        wait("the hub to be ready", lambda: self.send("GET", "/readyz").status == 200)
        self.secrets["the token for this machine"] = json.loads((self.data / "hub.local").read_text())["token"]

    @staticmethod
    def read(path):
        try:
            return pathlib.Path(path).read_text()
        except OSError:
            return None

    def operator(self, name, role):
        added = json.loads(self.run(self.hub_program, "operator", "add", name, "--role", role, "--json",
                                    "--data-dir", str(self.data)))
        self.secrets[f"the token of {name}"] = added["token"]
        self.secrets[f"the login link of {name}"] = added["login_link"].split("#")[1]
        return added

    def pair(self, admin):
        made = self.send("POST", "/api/enrollments", token=admin, body={}).json
        self.secrets["an enrollment code"] = made["code"]
        self.secrets["an enrollment code without hyphens"] = made["code"].replace("-", "")
        state = self.folder / "agent"
        self.run(self.agent_program, "enroll", "--hub", self.url, "--code", made["code"], "--name", "node",
                 "--state-dir", str(state))
        identity = json.loads((state / "identity.json").read_text())
        self.secrets["the token of the node"] = identity["token"]
        self.agent = self.start([self.agent_program, "run", "--state-dir", str(state)], self.logs[1],
                                EDGE_NATIVE_COMMAND=SAMPLE)

        def online():
            nodes = self.send("GET", "/api/nodes?health=online", token=admin).json["items"]
            return nodes[0]["id"] if nodes else None

        self.node = wait("the node to be online", online)

    def make_bot(self, admin, name="talker"):
        bot = self.send("POST", "/api/bots", token=admin, body={"name": name, "node_id": self.node}).json["id"]
        self.send("POST", f"/api/bots/{bot}/start", token=admin)
        wait("the bot to be ready", lambda: self.send("GET", f"/api/bots/{bot}", token=admin).json["phase"] == "ready")
        return bot

    def strike(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        # Bots outlive their agent on purpose.
        for entry in pathlib.Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if entry.name.isdigit() and str(self.folder).encode() in line and int(entry.name) != os.getpid():
                os.kill(int(entry.name), 9)
        shutil.rmtree(self.folder, ignore_errors=True)

    # Talking

    def send(self, method, path, token=None, body=None, headers=None, timeout=30):
        connection = http.client.HTTPConnection(*self.address, timeout=timeout)
        fields = {"Accept": "application/json", **(headers or {})}
        if token:
            fields["Authorization"] = f"Bearer {token}"
        if path in ("/api/session", "/edge/v1/enroll") and method == "POST":
            # Tries are limited by address, and a client behind a proxy is another address.
            self.addresses += 1
            fields.setdefault("X-Forwarded-For", f"203.0.113.{self.addresses % 250}")
        data = body
        if body is not None and not isinstance(body, (bytes, str)):
            data = json.dumps(body)
            fields.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, data, fields)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def sign_in(self, token, headers=None):
        """Opens a session; gives its cookie and its CSRF token."""
        answer = self.send("POST", "/api/session", body={"token": token}, headers=headers)
        if answer.status != 201:
            raise Failure(f"sign-in: {answer.status} {answer.body!r}")
        cookie = answer.headers["Set-Cookie"].split(";")[0]
        self.secrets[f"a session's cookie ({len(self.secrets)})"] = cookie.split("=", 1)[1]
        return cookie, answer.json["csrf_token"]

    def raw(self, data, seconds=10, chunks=None, pause=0.0):
        """Writes bytes and reads until the hub closes or time is up. `chunks` are written with pauses between."""
        began = time.monotonic()
        received = b""
        with socket.create_connection(self.address, timeout=seconds) as connection:
            try:
                connection.sendall(data)
                for chunk in chunks or []:
                    connection.sendall(chunk)
                    connection.settimeout(max(pause, 0.001))
                    try:
                        part = connection.recv(65536)
                        received += part
                        if not part or b"\r\n\r\n" in received:
                            break
                    except TimeoutError:
                        pass
            except (BrokenPipeError, ConnectionResetError):
                pass
            while time.monotonic() - began < seconds:
                connection.settimeout(max(0.01, seconds - (time.monotonic() - began)))
                try:
                    part = connection.recv(65536)
                except (TimeoutError, ConnectionResetError):
                    break
                if not part:
                    return received, time.monotonic() - began, True
                received += part
        return received, time.monotonic() - began, False
