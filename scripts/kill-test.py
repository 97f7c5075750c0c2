#!/usr/bin/env python3
"""`kill -9` of hub, agent and supervisor at random moments, under a bot that emits numbered packets and log lines and
answers numbered messages. Run it by `make kill-test`.

In the end every packet must be in the hub's database once, every log line readable once and in order, every message
answered once or reported failed, and every exit status right. Where a supervisor was killed, its bot must be dead and
told to be, and what is missing must be told too. Prints the counts. CONTROL_HUB and EDGE_AGENT name programs to use
instead of building them.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import demo
import flap
from kill_check import Checks, Ledger

HERE = pathlib.Path(__file__).resolve().parent
# Of the rounds in which hub or agent are killed; the supervisor's are counted apart.
VICTIMS = ("hub", "agent", "both", "exit")
SHARES = (40, 40, 14, 6)


def nested_configuration():
    """Twenty keys and more, one inside another: a start that takes it for another one would restart the bot."""
    return {f"setting-{number}": {"y": None, "x": {"name": "Zoë", "value": number}} for number in reversed(range(10))}


def is_alive(pid):
    """Whether a process runs; one that has ended and that nobody has asked about yet does not."""
    status = demo.read(pathlib.Path(f"/proc/{pid}/stat"))
    return status is not None and status.rpartition(")")[2].split()[0] not in "ZX"


class KillTest(Checks):
    """One run: what is started, what is killed, what must hold in the end."""

    def __init__(self, rounds, seed, folder):
        self.rounds, self.random = rounds, random.Random(seed)
        self.folder = folder
        self.processes = {}
        self.done = collections.Counter()
        self.exits = []
        self.losses = []
        self.ledger = Ledger()
        self.is_over = threading.Event()
        self.api = self.bot = self.port = None

    # Programs

    def start(self, name, arguments, **environment):
        """Starts a program with its output in the run's folder."""
        keep = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
        with open(self.folder / f"{name}.log", "ab") as output:
            self.processes[name] = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                cwd=self.folder, env={**keep, "HOME": str(self.folder), "NO_PROXY": "*", **environment})

    def kill(self, name):
        """The end without a word."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def start_hub(self):
        (self.folder / "hub" / "hub.address").unlink(missing_ok=True)
        self.start("hub", [self.programs[0], "serve", "--listen", f"127.0.0.1:{self.port or 0}", "--data-dir",
                           str(self.folder / "hub")],
                   HUB_HEARTBEAT_INTERVAL="1s", HUB_SESSION_BURST="100000", HUB_ADMISSION_BURST="100000")

    def start_agent(self):
        bot = [sys.executable, str(HERE / "kill_bot.py"), str(self.folder), "{config}", "{workspace}"]
        # It keeps its books outside of everything that it tests.
        profiles = {"default": {"command": bot, "isolation": False}}
        self.start("agent", [self.programs[1], "run", "--state-dir", str(self.folder / "agent")],
                   EDGE_PROFILES=json.dumps(profiles), EDGE_TEST_LONGEST_WAIT_MS="200")

    def wait(self, what, limit, look):
        """Asks until there is an answer."""
        end, last = time.monotonic() + limit, None
        while time.monotonic() < end:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise demo.Failure(f"the {name} ended by itself with {process.returncode}")
            try:
                if found := look():
                    return found
            except (demo.Failure, OSError) as failure:
                last = failure
            time.sleep(0.05)
        raise demo.Failure(f"waited {limit} s for {what}" + (f"; last: {last}" if last else ""))

    def set_up(self):
        """Hub, agent and bot; nothing is killed yet."""
        self.programs = flap.programs()
        data = self.folder / "hub"
        self.start_hub()
        address = self.wait("the hub to listen", 60, lambda: demo.read(data / "hub.address"))
        self.port = address.rpartition(":")[2].strip()
        authority = str(data / "tls" / "ca.pem")
        self.api = demo.API(f"https://127.0.0.1:{self.port}", authority)
        self.wait("the hub to be ready", 60, lambda: self.api.call("GET", "/readyz") is not None)
        hub, agent = self.programs
        made = json.loads(demo.quiet([hub, "operator", "add", "killer", "--role", "admin", "--json", "--data-dir", str(data)]))
        self.api.token = made["token"]
        made = json.loads(demo.quiet([hub, "enrollment", "create", "--json", "--data-dir", str(data)]))
        demo.quiet([agent, "enroll", "--hub", self.api.base, "--code", made["code"], "--name", "victim", "--ca-file",
                    authority, "--state-dir", str(self.folder / "agent")])
        self.start_agent()
        node = self.wait("the node to be online", 60, self.online)
        self.bot = self.api.call("POST", "/api/bots", {"name": "counter", "node_id": node["id"],
                                                  "config": nested_configuration()})["id"]
        self.api.call("POST", f"/api/bots/{self.bot}/start")
        self.wait("the bot to be ready", 60, self.ready)

    def online(self):
        nodes = self.api.call("GET", "/api/nodes")["items"]
        return next((node for node in nodes if node.get("health") == "online"), None)

    def status(self):
        return self.api.call("GET", f"/api/bots/{self.bot}")

    def ready(self):
        return (found := self.status()).get("phase") == "ready" and found

    # Messages

    def talk(self):
        """Sends numbered messages all the time. One that gets no answer is sent again under the same key."""
        number = 0
        chance = random.Random(self.random.random())
        while not self.is_over.is_set():
            number += 1
            key, conversation = f"ask-{number}", f"talk-{number // 40}"
            while not self.is_over.is_set():
                try:
                    sent = self.post(f"/api/bots/{self.bot}/messages", key,
                                     {"text": f"question {number}", "conversation_id": conversation})
                    self.ledger.accepted(number, sent["message_id"], conversation)
                    break
                except (demo.Failure, OSError, KeyError):
                    self.is_over.wait(0.05)
            else:
                self.ledger.given_up = number
            self.is_over.wait(chance.choice((0.01, 0.1, 0.4)))

    def post(self, path, key, body):
        """A POST that may be repeated."""
        return self.api.call("POST", path, body, {"Idempotency-Key": key})

    # Rounds

    def round(self, victim):
        """One kill, and the way back."""
        time.sleep(self.random.choice((0, 0.05, 0.3, 1)) * self.random.random())
        down = self.random.choice((0, 0, 0.1, 0.5)) * self.random.random()
        if victim == "exit":
            self.exit_round(down)
        elif victim == "both":
            order = self.random.sample(("hub", "agent"), 2)
            for name in order:
                self.kill(name)
            time.sleep(down)
            for name in self.random.sample(order, 2):
                getattr(self, f"start_{name}")()
        else:
            self.kill(victim)
            time.sleep(down)
            getattr(self, f"start_{victim}")()
        self.done[victim] += 1
        # Mostly the next kill waits until all is well, or nothing but starts would ever be interrupted.
        if self.random.random() < 0.7:
            self.wait("the hub to be back", 60, lambda: self.api.call("GET", "/readyz") is not None)
            self.wait("the node to be online", 60, self.online)
        else:
            time.sleep(0.4 * self.random.random())

    def exit_round(self, down):
        """The bot ends by itself while its agent is dead: the status must reach the hub all the same."""
        self.wait("the node to be online", 60, self.online)
        code = self.random.randrange(1, 60)
        before = self.wait("the bot to be ready", 90, self.ready)
        self.kill("agent")
        (self.folder / "exit").write_text(str(code))
        self.wait("the bot to end", 30, lambda: not is_alive(before["pid"]))
        time.sleep(down)
        self.start_agent()
        told = self.wait(
            f"the exit with status {code} to be told", 60,
            lambda: (found := self.status()) and (found.get("last_exit") or {}).get("code") == code and found)
        self.exits.append((code, told["last_exit"]["code"], told["last_exit"]["signal"]))
        # Asked for, so that the ends that were ordered do not add up to a crash loop.
        self.post(f"/api/bots/{self.bot}/start", f"again-{len(self.exits)}", {})
        self.wait("the bot to run again", 90, lambda: self.ready() and self.ready()["launch_id"] != before["launch_id"])

    def supervisor_round(self):
        """The supervisor is killed: its bot must not live on unseen, and the API must say what happened."""
        before = self.wait("the bot to be ready", 90, self.ready)
        time.sleep(self.random.random())
        # A bot's supervisor is its parent.
        supervisor = int((demo.read(pathlib.Path(f"/proc/{before['pid']}/stat")) or "").rpartition(")")[2].split()[1])
        os.kill(supervisor, signal.SIGKILL)
        is_agent_dead = self.random.random() < 0.3
        if is_agent_dead:
            self.kill("agent")
            time.sleep(self.random.random() * 0.5)
            self.start_agent()
        told = self.wait("the loss to be told", 60, lambda: self.lost(before["launch_id"]))
        self.losses.append({"launch": before["launch_id"], "pid": before["pid"], "told": told})
        if is_alive(before["pid"]):
            raise demo.Failure(f"bot {before['pid']} outlived its supervisor and the hub says {told}")
        self.post(f"/api/bots/{self.bot}/start", f"lost-{len(self.losses)}", {})
        self.wait("the bot to run again", 90, lambda: self.ready() and self.ready()["launch_id"] != before["launch_id"])
        self.done["supervisor"] += 1

    def lost(self, launch):
        """What the hub says of the loss, once log and status have it."""
        found = self.status()
        is_told = found["launch_id"] != launch or found["phase"] in ("backoff", "failed")
        lines = self.api.call("GET", f"/api/bots/{self.bot}/logs?tail=2000")["lines"]
        events = [json.loads(line["text"]) for line in lines
                  if line["source"] == "supervisor" and '"lost":true' in line["text"] and launch in line["text"]]
        if not is_told or not events:
            return None
        return {"event": events[0], "phase": found["phase"], "reason": found.get("reason"), "exit": found.get("last_exit")}

    def run(self):
        """All rounds, then the reckoning."""
        talker = threading.Thread(target=self.talk)
        talker.start()
        begin = time.monotonic()
        supervised = max(1, self.rounds // 6)
        try:
            for number in range(self.rounds - supervised):
                victim = self.random.choices(VICTIMS, SHARES)[0]
                self.round(victim)
                if (number + 1) % max(10, self.rounds // 10) == 0:
                    self.show(begin)
            self.recover()
            for _ in range(supervised):
                self.supervisor_round()
            self.show(begin)
        finally:
            self.is_over.set()
            talker.join()
        self.recover()
        self.settle()

    def show(self, begin):
        kills = ", ".join(f"{victim} {count}" for victim, count in sorted(self.done.items()))
        print(f"kill-test: {time.monotonic() - begin:5.0f} s  rounds {sum(self.done.values())} ({kills})  "
              f"messages {len(self.ledger.messages)}", flush=True)

    def recover(self):
        """Everything runs again."""
        for name in ("hub", "agent"):
            if name not in self.processes:
                getattr(self, f"start_{name}")()
        self.wait("the hub to be back", 60, lambda: self.api.call("GET", "/readyz") is not None)
        self.wait("the node to be online", 60, self.online)
        self.wait("the bot to be ready", 90, self.ready)

    def stop(self, keeps):
        """Whatever still runs out of the run's folder."""
        self.is_over.set()
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if os.fsencode(self.folder) in (entry / "cmdline").read_bytes() and int(entry.name) != os.getpid():
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                pass  # it has ended meanwhile
        if not keeps:
            shutil.rmtree(self.folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description="kill -9 of hub, agent and supervisor, from a seed.")
    parser.add_argument("--rounds", type=int, default=300, help="how many kills; a sixth of them are supervisors")
    parser.add_argument("--seed", type=int, default=1, help="chooses victims and moments")
    parser.add_argument("--keep", action="store_true", help="leave the run's folder behind")
    arguments = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kill-test-"))
    print(f"kill-test: {arguments.rounds} rounds, seed {arguments.seed}", flush=True)
    test = KillTest(arguments.rounds, arguments.seed, folder)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    status = 1
    try:
        test.set_up()
        test.run()
        status = 0
    except KeyboardInterrupt:
        print("kill-test: interrupted", file=sys.stderr)
    except (demo.Failure, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
        print(f"kill-test: failed: {error}\nkill-test: everything is kept in {folder}", file=sys.stderr)
        for name in ("hub", "agent"):
            log = demo.read(folder / f"{name}.log") or ""
            print(f"kill-test: the last lines of the {name}'s log:", *log.splitlines()[-15:], sep="\n  ", file=sys.stderr)
    finally:
        test.stop(keeps=status != 0 or arguments.keep)
    sys.exit(status)


if __name__ == "__main__":
    main()
