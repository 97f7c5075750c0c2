#!/usr/bin/env python3
"""A bot with a configuration of many nested keys and a workspace with entries of every kind goes from node to node, again and again, while
somebody speaks to it.

Each deployment must start it once on its target and nowhere else, no turn may end as interrupted, every message must be answered once, the
workspace must come along whole, and the downtime that the hub tells must be the time in which no copy ran. Prints a line for each deployment and
ends with 1 where something was otherwise. Run it by `make deploy-many`; with --engine SOCKET the bot is a container of that engine on both nodes.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "Tests" / "API"))

from stage import SAMPLE, Failure, Stage, wait  # noqa: E402

OVER = ("succeeded", "failed", "cancelled", "rolled_back")
# What a look at the processes may come too late or too early by, on a busy machine.
TOLERANCE_MS = 1500
# What a container takes longer than a process until it is ready, when it is there already.
CONTAINER_MS = 1000


def nested_configuration():
    """Twenty keys and more, one inside another, in an order that no encoder would choose."""
    config = {"zone": "attic", "id": 1234567890123456789, "ratio": 0.10, "empty": {}, "list": [1, {"b": 2, "a": 1}, []]}
    for number in reversed(range(10)):
        config[f"tool-{number}"] = {"on": number % 2 == 0, "depth": {"y": None, "x": {"name": "Zoë", "value": number}}}
    return config


class Carried(Stage):
    def __init__(self, programs, folder, engine=None):
        super().__init__(programs, folder)
        self.environment |= {"HUB_SESSION_BURST": "10000"}
        self.nodes, self.states, self.engine = [], [], engine
        self.profile = {"EDGE_NATIVE_COMMAND": SAMPLE}
        if engine:
            box = {"backend": "docker", "image": "sample-bot:test", "limits": {"memory": "256M", "pids": 50},
                   "command": "/usr/bin/python3 /opt/bot/sample-bot --config {config} --workspace {workspace}"}
            self.profile = {"EDGE_PROFILES": json.dumps({"default": box}), "EDGE_DOCKER_SOCKET": engine}

    def begin(self):
        self.raise_hub()
        self.admin = self.operator("the-admin", "admin")["token"]
        for name in ("attic", "barn"):
            code = self.send("POST", "/api/enrollments", token=self.admin, body={}).json["code"]
            state = self.folder / name
            self.run(self.agent_program, "enroll", "--hub", self.url, "--code", code, "--name", name, "--state-dir", str(state))
            node = json.loads((state / "identity.json").read_text())["node_id"]
            self.start([self.agent_program, "run", "--state-dir", str(state)], self.folder / f"{name}.log", **self.profile)
            wait(f"{name} to be online", lambda: self.get(f"/api/nodes/{node}")["health"] == "online")
            self.nodes.append(node)
            self.states.append(state)
        body = {"name": "traveller", "node_id": self.nodes[0], "config": nested_configuration()}
        self.bot = self.post("/api/bots", body)["id"]
        self.post(f"/api/bots/{self.bot}/start")
        wait("the bot to be ready", lambda: self.get(f"/api/bots/{self.bot}")["phase"] == "ready")

    def get(self, path):
        return self.send("GET", path, token=self.admin).json

    def post(self, path, body=None):
        answer = self.send("POST", path, token=self.admin, body=body)
        if answer.status >= 300:
            raise Failure(f"POST {path}: {answer.status} {answer.body[:500]}")
        return answer.json

    def workspace(self, place):
        return self.states[place] / "bots" / self.bot / "workspace"

    def furnish(self):
        """Entries of every kind that is carried: directories, files, holes, both kinds of links, odd names and modes."""
        root = self.workspace(0)
        (root / "deep" / "er").mkdir(parents=True)
        (root / "empty").mkdir()
        (root / "deep" / "file").write_bytes(os.urandom(300_000))
        os.link(root / "deep" / "file", root / "deep" / "er" / "same")
        (root / "link").symlink_to("deep/file")
        (root / "up").symlink_to("deep/../deep/er")
        (root / "dangling").symlink_to("nowhere")
        with open(root / "holes", "wb") as file:
            file.truncate(8 << 20)
            file.seek(4 << 20)
            file.write(b"in the middle")
        (root / os.fsdecode(b"odd \xff\n name")).write_text("odd")
        (root / "run").write_text("#!/bin/sh\n")
        (root / "run").chmod(0o750)
        (root / "private").mkdir(mode=0o700)

    def census(self, place):
        """What lies in the workspace: path → kind, mode, content; without what the bot itself keeps."""
        found, root = {}, self.workspace(place)
        for folder, folders, files in os.walk(root):
            for name in folders + files:
                path = pathlib.Path(folder) / name
                relative = str(path.relative_to(root))
                if relative.startswith("memory"):
                    continue
                status = path.lstat()
                content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
                found[relative] = (oct(status.st_mode), content)
        return found

    def launches(self, place):
        """Of the bot's own log on a node, how many launches began."""
        # A walk takes it well that folders of transfers go meanwhile.
        logs = [pathlib.Path(folder, name) for folder, _, names in os.walk(self.states[place]) if self.bot in folder
                for name in names if name.endswith(".log")]
        return sum(log.read_bytes().count(b'"event":"started"') for log in logs)

    def copies(self):
        """Pids of the bot's copies, by what the processes themselves say."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
                # An init in front of it, and supervisors, name it as well.
                is_copy = b"python3" in line.split(b"\0")[0] and any(part.endswith(b"/sample-bot") for part in line.split(b"\0")[:2])
                if is_copy and self.bot.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


class Talk(threading.Thread):
    """Somebody who speaks to the bot all the time."""

    def __init__(self, stage):
        super().__init__(daemon=True)
        self.stage, self.over, self.sent = stage, threading.Event(), []

    def run(self):
        while not self.over.is_set():
            answer = self.stage.send("POST", f"/api/bots/{self.stage.bot}/messages", token=self.stage.admin,
                                     body={"text": f"number {len(self.sent)}", "conversation_id": f"talk-{len(self.sent) // 40}"})
            if answer.status == 202:
                self.sent.append((answer.json["message_id"], answer.json["conversation_id"]))
            self.over.wait(0.25)


class Absence(threading.Thread):
    """Measures for how long no copy of the bot runs, and whether there are ever two."""

    def __init__(self, stage):
        super().__init__(daemon=True)
        self.stage, self.over, self.away, self.most = stage, threading.Event(), 0.0, 0

    def run(self):
        last = time.monotonic()
        while not self.over.is_set():
            count, now = len(self.stage.copies()), time.monotonic()
            self.most = max(self.most, count)
            if count == 0:
                self.away += now - last
            last = now
            time.sleep(0.02)


def carry_out(stage, count):
    stage.begin()
    stage.furnish()
    before = stage.census(0)
    talk, faults, place = Talk(stage), [], 0
    talk.start()
    for number in range(1, count + 1):
        target = 1 - place
        launches = [stage.launches(each) for each in (0, 1)]
        absence = Absence(stage)
        absence.start()
        begun = stage.post(f"/api/bots/{stage.bot}/deploy", {"node_id": stage.nodes[target]})
        ended = wait("the deployment to end",
                     lambda: (state := stage.get(f"/api/deployments/{begun['id']}"))["state"] in OVER and state, 120)
        absence.over.set()
        absence.join()
        wrong = []
        if ended["state"] != "succeeded":
            raise Failure(f"deployment {number}: {json.dumps(ended)[:1500]}")
        phase = stage.get(f"/api/bots/{stage.bot}")["phase"]
        if phase != "ready":
            wrong.append(f"the bot is {phase} when it is said to have succeeded")
        begun_there = stage.launches(target) - (launches[target] if stage.launches(target) >= launches[target] else 0)
        if begun_there != 1:
            wrong.append(f"{begun_there} launches on the target")
        if absence.most > 1:
            wrong.append(f"{absence.most} copies at once")
        if abs(ended["downtime_ms"] - absence.away * 1000) > TOLERANCE_MS + (CONTAINER_MS if stage.engine else 0):
            wrong.append("the downtime is another")
        if stage.census(target) != before:
            wrong.append("the workspace is another")
        print(f"deploy-many: {number:3d} of {count}: away for {absence.away * 1000:.0f} ms, told {ended['downtime_ms']} ms"
              f"{'' if not wrong else '  WRONG: ' + '; '.join(wrong)}", flush=True)
        faults += [f"deployment {number}: {text}" for text in wrong]
        place = target
    talk.over.set()
    talk.join()
    states = {}
    for message, conversation in talk.sent:
        def ended_as():
            page = stage.get(f"/api/bots/{stage.bot}/conversations/{conversation}?limit=500")["items"]
            entries = [entry for entry in page if entry.get("message_id") == message]
            mine = next((entry["state"] for entry in entries if entry["role"] == "user"), None)
            return mine if mine not in ("queued", "delivered", "running", None) else None

        state = wait(f"{message} to end", ended_as, 60)
        states[state] = states.get(state, 0) + 1
    print(f"deploy-many: {len(talk.sent)} messages: {states}")
    if set(states) != {"answered"}:
        faults.append(f"messages ended as {states}")
    for fault in faults:
        print(f"deploy-many: FAILED {fault}")
    return 1 if faults else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / ".build" / "debug")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--engine", metavar="SOCKET", default=os.environ.get("EDGE_TEST_DOCKER_SOCKET"),
                        help="of a container engine that has the image sample-bot:test, as scripts/with-engine.sh gives it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deploy-many-") as folder:
        stage = Carried(options.programs.resolve(), pathlib.Path(folder), options.engine)
        try:
            return carry_out(stage, options.count)
        finally:
            stage.strike()


if __name__ == "__main__":
    sys.exit(main())
