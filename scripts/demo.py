#!/usr/bin/env python3
"""The whole thing on one machine: a hub, a paired agent, a bot that answers. Run it by `make demo`.

Everything it writes is under .demo/ in the checkout. It runs until Ctrl-C and then stops what it started; with --once
it stops as soon as the bot has answered. The exit status is 0 only if every step worked.

CONTROL_HUB and EDGE_AGENT name programs to use instead of building them.
"""

import argparse
import json
import os
import pathlib
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEMO = ROOT / ".demo"
HUB_DATA, STATE = DEMO / "hub", DEMO / "agent"
HUB_LOG, AGENT_LOG = DEMO / "hub.log", DEMO / "agent.log"
BUILD = ["swift", "build", "--explicit-target-dependency-import-check", "error"]
BEGIN = time.monotonic()
BOLD, GREEN, RED, PLAIN = ("\033[1m", "\033[32m", "\033[31m", "\033[0m") if sys.stdout.isatty() else ("",) * 4


class Failure(Exception):
    """A step that did not work: what happened, and the log that tells more."""

    def __init__(self, text, log=None):
        super().__init__(text)
        self.log = log


def say(text, mark=" "):
    print(f"{GREEN}[{time.monotonic() - BEGIN:6.1f} s]{PLAIN} {mark} {text}", flush=True)


def quiet(arguments, log=None, **more):
    """Runs a short command and returns what it printed."""
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, **more)
    if done.returncode != 0:
        shown = " ".join(pathlib.Path(word).name if word.startswith("/") else word for word in arguments[:3])
        raise Failure(f"{shown} … ended with {done.returncode}: {(done.stderr or done.stdout).strip()}", log)
    return done.stdout


class API:
    """The hub's API, as a script would call it."""

    def __init__(self, base, authority, token=None):
        self.base, self.token = base, token
        self.context = ssl.create_default_context(cafile=authority)

    def open(self, method, path, body=None, timeout=10, headers=None):
        """The answer as a stream to read."""
        request = urllib.request.Request(self.base + path, method=method, headers=headers or {})
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        if body is not None or method == "POST":
            request.data = json.dumps(body or {}).encode()
            request.add_header("Content-Type", "application/json")
        # Never through a proxy: the hub is on this machine.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.context))
        try:
            return opener.open(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            raise Failure(f"{method} {path} answered {error.code}: {error.read().decode(errors='replace')[:500]}", HUB_LOG)
        except OSError as error:
            raise Failure(f"{method} {path}: {error}", HUB_LOG)

    def call(self, method, path, body=None, headers=None):
        """The answer's JSON."""
        try:
            with self.open(method, path, body, headers=headers) as answer:
                text = answer.read()
        except OSError as error:
            raise Failure(f"{method} {path}: {error}", HUB_LOG)
        try:
            return json.loads(text) if text.strip() else {}
        except ValueError:
            return {}


class Demo:
    def __init__(self, once):
        self.once = once
        self.hub = self.agent = self.api = self.bot = None
        # Nothing of ours looks at the user's own files, and nothing writes outside .demo.
        keep = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        self.environment = {**keep, "HOME": str(DEMO), "TMPDIR": str(DEMO / "tmp"), "NO_PROXY": "*"}

    # Steps

    def build(self):
        given = os.environ.get("CONTROL_HUB"), os.environ.get("EDGE_AGENT")
        if all(given):
            return [str(pathlib.Path(program).resolve()) for program in given]
        say("building hub and agent (the first build takes several minutes, later ones seconds)")
        programs = ["control-hub", "edge-agent"]
        # By name: a plain build would also build the tests' libraries.
        for program in programs:
            if subprocess.run([*BUILD, "--product", program], cwd=ROOT).returncode != 0:
                raise Failure("the build failed; its output is above")
        folder = pathlib.Path(quiet([*BUILD, "--show-bin-path"], cwd=ROOT).strip())
        return [str(folder / program) for program in programs]

    def start_hub(self, program):
        self.hub = self.start([program, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(HUB_DATA)], HUB_LOG)
        address = self.wait("the hub to listen", HUB_LOG, 30, lambda: read(HUB_DATA / "hub.address"))
        authority = str(HUB_DATA / "tls" / "ca.pem")
        self.url = f"https://{address}"
        self.wait("the hub's certificate", HUB_LOG, 10, lambda: os.path.exists(authority))
        self.api = API(self.url, authority)
        self.wait("the hub to be ready", HUB_LOG, 30, lambda: self.api.call("GET", "/readyz") is not None)
        added = json.loads(quiet(
            [program, "operator", "add", "demo", "--role", "admin", "--json", "--data-dir", str(HUB_DATA)],
            HUB_LOG, env=self.environment))
        self.api.token = added["token"]
        self.login = added["login_link"]
        return authority

    def pair(self, hub, agent, authority):
        made = json.loads(quiet(
            [hub, "enrollment", "create", "--json", "--data-dir", str(HUB_DATA)], HUB_LOG, env=self.environment))
        say(f"pairing with the one-time code {made['code']}")
        quiet([agent, "enroll", "--hub", self.url, "--code", made["code"], "--name", "demo-node",
               "--ca-file", authority, "--state-dir", str(STATE)], HUB_LOG, env=self.environment)

    def start_agent(self, program):
        bot = shlex.join([shutil.which("python3"), str(ROOT / "samples" / "bot" / "sample-bot")])
        self.agent = self.start(
            [program, "run", "--state-dir", str(STATE)], AGENT_LOG,
            EDGE_NATIVE_COMMAND=f"{bot} --config {{config}} --workspace {{workspace}}")
        def online():
            return next((node for node in self.items("/api/nodes") if node.get("health") == "online"), None)
        return self.wait("the node to be online", AGENT_LOG, 30, online)

    def start_bot(self, node):
        self.bot = self.api.call("POST", "/api/bots", {"name": "demo-bot", "node_id": node["id"]})["id"]
        self.api.call("POST", f"/api/bots/{self.bot}/start")
        self.wait("the bot to be ready", AGENT_LOG, 60, lambda: self.phase() == "ready")

    def talk(self):
        sent = self.api.call("POST", f"/api/bots/{self.bot}/messages", {"text": "hello"})
        path = f"/api/bots/{self.bot}/conversations/{sent['conversation_id']}"
        def answered():
            items = self.items(path)
            return items if any(item.get("role") == "assistant" for item in items) else None
        messages = self.wait("the bot's answer", AGENT_LOG, 60, answered)
        say("the conversation, out of the hub's database:")
        for message in messages:
            print(f"           {BOLD}{message.get('role', '?'):>9}{PLAIN}  {message.get('text', '')}")

    def prove_no_listener(self):
        table = quiet(["ss", "-Hltnp"]).splitlines()
        ours = {self.hub.pid: "hub", self.agent.pid: "agent"}
        supervisor, bot = recorded_processes()
        ours.update({pid: "supervisor" for pid in supervisor} | {pid: "bot" for pid in bot})
        say("who listens (ss -ltnp): the hub, and the bot on loopback; the agent dials out and needs no open port")
        bad = []
        for line in table:
            for pid, name in ours.items():
                if f"pid={pid}," in line:
                    print(f"           {name:>9}  {' '.join(line.split()[3:4])}")
                    if name in ("agent", "supervisor") or not line.split()[3].startswith("127.0.0.1:"):
                        bad.append(name)
        if bad:
            raise Failure(f"{', '.join(bad)} listens where it should not")

    # Ways to do them

    def start(self, arguments, log, **environment):
        # A session of its own: Ctrl-C reaches only this script, which then stops things in order.
        with open(log, "ab") as output:
            return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                    start_new_session=True, cwd=DEMO, env={**self.environment, **environment})

    def items(self, path):
        return self.api.call("GET", path).get("items", [])

    def phase(self):
        return self.api.call("GET", f"/api/bots/{self.bot}").get("phase")

    def wait(self, what, log, limit, look):
        """Asks until there is an answer; gives up after `limit` seconds or when a program has ended."""
        last, end = None, time.monotonic() + limit
        while time.monotonic() < end:
            for name, program, its_log in ("hub", self.hub, HUB_LOG), ("agent", self.agent, AGENT_LOG):
                if program and program.poll() is not None:
                    raise Failure(f"the {name} ended with {program.returncode} while waiting for {what}", its_log)
            try:
                found = look()
                if found:
                    return found
            except Failure as failure:
                last = failure
            time.sleep(0.1)
        raise Failure(f"waited {limit} s for {what}" + (f"; last: {last}" if last else ""), log)

    def run(self):
        hub, agent = self.build()
        authority = self.start_hub(hub)
        say(f"hub runs on {self.url} (pid {self.hub.pid})")
        self.pair(hub, agent, authority)
        node = self.start_agent(agent)
        say(f"agent runs (pid {self.agent.pid}); node {node.get('name')} is online over wss")
        self.start_bot(node)
        say("bot runs and is ready")
        self.talk()
        self.prove_no_listener()
        say(f"dashboard: {BOLD}{self.login}{PLAIN}", "→")
        say(f"its certificate is signed by {os.path.relpath(authority, ROOT)}, which your browser does not know")
        if self.once:
            return
        say("runs until Ctrl-C", "→")
        while True:
            for name, program, log in ("hub", self.hub, HUB_LOG), ("agent", self.agent, AGENT_LOG):
                if program.poll() is not None:
                    raise Failure(f"the {name} ended with {program.returncode}", log)
            time.sleep(0.5)

    def stop(self):
        """The bot through the API, then agent, then hub. What still runs after that is ended by its recorded pid."""
        if self.bot and self.agent and self.agent.poll() is None and self.hub.poll() is None:
            try:
                self.api.call("POST", f"/api/bots/{self.bot}/stop")
                self.wait("the bot to stop", AGENT_LOG, 20, lambda: self.phase() == "stopped")
                say("bot stopped")
            except Failure as failure:
                say(f"the bot did not stop through the API ({failure}); ending it by its pid")
        for name, program in ("agent", self.agent), ("hub", self.hub):
            if program and program.poll() is None:
                program.terminate()
                try:
                    program.wait(15)
                except subprocess.TimeoutExpired:
                    program.kill()
                    program.wait()
                say(f"{name} stopped")
        end_recorded_processes()


def read(path):
    try:
        return path.read_text().strip()
    except OSError:
        return None


def prepare():
    """A fresh .demo, unless another demo is using it."""
    other = read(DEMO / "demo.pid")
    if other and "demo.py" in (read(pathlib.Path("/proc") / other / "cmdline") or ""):
        raise Failure(f"another demo runs already (pid {other}); stop it with Ctrl-C first")
    end_recorded_processes()
    shutil.rmtree(DEMO, ignore_errors=True)
    (DEMO / "tmp").mkdir(parents=True, mode=0o700)
    DEMO.chmod(0o700)
    (DEMO / "demo.pid").write_text(str(os.getpid()))


def recorded_processes():
    """(supervisors, bots) that the agent's state names and that still are those processes."""
    supervisors, bots = [], []
    for file in STATE.glob("bots/**/supervisor.json"):
        try:
            state = json.loads(file.read_text())
        except (OSError, ValueError):
            continue
        for found, name in (supervisors, "supervisor"), (bots, "bot"):
            pid = is_same_process(state.get(name))
            if pid:
                found.append(pid)
    return supervisors, bots


def is_same_process(recorded):
    """The pid, if the process that has it now started when the recorded one did."""
    try:
        stat = pathlib.Path(f"/proc/{recorded['pid']}/stat").read_text().rpartition(")")[2].split()
    except (OSError, KeyError, TypeError):
        return None
    started = [value for key, value in recorded.items() if "start" in key]
    return recorded["pid"] if stat[0] != "Z" and str(stat[19]) in map(str, started) else None


def end_recorded_processes():
    for number in signal.SIGTERM, signal.SIGKILL:
        supervisors, bots = recorded_processes()
        # A supervisor ends its bot; by the second round also what did not listen.
        for pid in supervisors if number == signal.SIGTERM and supervisors else supervisors + bots:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        end = time.monotonic() + 12
        while any(recorded_processes()) and time.monotonic() < end:
            time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser(description="Hub, paired agent and a bot on this machine.")
    parser.add_argument("--once", action="store_true", help="stop as soon as the bot has answered")
    demo = Demo(parser.parse_args().once)
    # A shell starts background jobs with SIGINT ignored, and Python keeps that; here it is the way to stop.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    status = 0
    try:
        prepare()
    except Failure as failure:
        # Nothing is stopped: what runs belongs to the other demo.
        sys.exit(f"demo: {failure}")
    try:
        demo.run()
    except KeyboardInterrupt:
        print()
        say("stopping")
        status = 1 if demo.once else 0
    except (Failure, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
        status = 1
        print(f"{RED}demo: failed: {error}{PLAIN}", file=sys.stderr)
        log = getattr(error, "log", None)
        if log and log.exists():
            print(f"demo: the last lines of {os.path.relpath(log, ROOT)}:", file=sys.stderr)
            print("\n".join(log.read_text(errors="replace").splitlines()[-25:]), file=sys.stderr)
    # A second Ctrl-C must not leave processes behind.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    demo.stop()
    if any(recorded_processes()):
        print(f"{RED}demo: processes are left: {recorded_processes()}{PLAIN}", file=sys.stderr)
        status = 1
    (DEMO / "demo.pid").unlink(missing_ok=True)
    say("done" if status == 0 else "failed", "✓" if status == 0 else "✗")
    sys.exit(status)


if __name__ == "__main__":
    main()
