#!/usr/bin/env python3
"""One boot of power.py, in the machine: starts hub and agent, tells what they have kept, and then works them until the mains fail.

Everything that was answered is told on standard output, the line to the host, after the answer: what stands there is
acknowledged. A line is a word and JSON. Arguments: the directory that the host shares, and the number of the boot.
"""

import json
import os
import pathlib
import random
import shutil
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

SHARE, BOOT = pathlib.Path(sys.argv[1]), int(sys.argv[2])
PLAN = json.loads((SHARE / "plan.json").read_text())
HOME = pathlib.Path("/var/lib/power-test")
HUB, AGENT = HOME / "hub", HOME / "agent"
PROGRAMS = HOME / "bin"
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": str(HOME), "HUB_HEARTBEAT_INTERVAL": "5s", "HUB_SESSION_BURST": "100000",
               "HUB_ADMISSION_BURST": "100000", "HUB_TELEMETRY_INTERVAL": "5s", "HUB_KEEP_LOGS": "64M", **PLAN["environment"]}
AGENT_PROCESS = []
lock = threading.Lock()
chance = random.Random(PLAN["seed"] * 1000 + BOOT)


def tell(word, **what):
    with lock:
        sys.stdout.write(f"{word} {json.dumps(what, separators=(',', ':'))}\n")
        sys.stdout.flush()


class Refused(Exception):
    def __init__(self, status, text):
        super().__init__(f"{status} {text}")
        self.status = status


class API:
    def __init__(self):
        self.base = f"https://{(HUB / 'hub.address').read_text().strip()}"
        self.context = ssl.create_default_context(cafile=HUB / "tls" / "ca.pem")
        token = HOME / "token"
        self.token = token.read_text() if token.exists() else None

    def call(self, method, path, body=None, token=None, raw=None):
        request = urllib.request.Request(self.base + path, method=method)
        if token or self.token:
            request.add_header("Authorization", f"Bearer {token or self.token}")
        if raw is not None:
            request.data = raw
        elif body is not None or method == "POST":
            request.data = json.dumps(body or {}).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60, context=self.context) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode(errors="replace")[:300])
        try:
            return json.loads(text) if text.strip() else {}
        except ValueError:
            return {}


def wait(what, look, limit=90):
    end, last = time.monotonic() + limit, None
    while time.monotonic() < end:
        try:
            if found := look():
                return found
        except (OSError, Refused, ValueError) as error:
            last = error
        time.sleep(0.1)
    for name in "hub", "agent":
        print(f"--- {name}\n" + (HOME / f"{name}.log").read_text(errors="replace")[-3000:], flush=True)
    tell("STUCK", what=what, last=str(last))
    sys.exit(1)


def run(*words):
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise OSError(f"{words[0]} {words[1]}: {done.stderr or done.stdout}")
    return done.stdout


def start(name, *words, **more):
    return subprocess.Popen(words, env={**ENVIRONMENT, **more}, stdin=subprocess.DEVNULL, stdout=open(HOME / f"{name}.log", "wb"),
                     stderr=subprocess.STDOUT, start_new_session=True, cwd=HOME)


def durably(path, text):
    """What this program must know in the next boot."""
    part = path.with_suffix(".part")
    with open(part, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def begin():
    """Hub and agent run, and the node is online."""
    if not (HOME / "installed").exists():
        shutil.rmtree(HOME, ignore_errors=True)
        PROGRAMS.mkdir(parents=True)
        for name in "control-hub", "edge-agent":
            shutil.copy2(SHARE / "checkout" / ".build" / "dist" / name, PROGRAMS / name)
        shutil.copy2(SHARE / "bot.py", HOME / "bot.py")
        os.sync()
        durably(HOME / "installed", "")
    (HUB / "hub.address").unlink(missing_ok=True)
    start("hub", PROGRAMS / "control-hub", "serve", "--listen", "127.0.0.1:8443", "--data-dir", HUB)
    wait("the hub to listen", lambda: (HUB / "hub.address").read_text().strip())
    api = API()
    wait("the hub to be ready", lambda: api.call("GET", "/readyz") or True)
    if not (HOME / "token").exists():
        made = json.loads(run(PROGRAMS / "control-hub", "operator", "add", f"power-{BOOT}", "--role", "admin", "--json", "--data-dir", HUB))
        durably(HOME / "token", made["token"])
        api.token = made["token"]
        tell("OPERATOR", token=made["token"])
    if not (AGENT / "identity.json").exists():
        enroll(api)
    command = ["/usr/bin/python3", str(HOME / "bot.py"), "--config", "{config}", "--workspace", "{workspace}"]
    AGENT_PROCESS[:] = [start("agent", PROGRAMS / "edge-agent", "run", "--state-dir", AGENT,
          EDGE_PROFILES=json.dumps({"default": {"command": command, "isolation": False}}))]
    node = wait("the node to be online", lambda: next((each for each in api.call("GET", "/api/nodes")["items"] if each.get("health") == "online"), None))
    return api, node["id"]


def enroll(api, *more, **body):
    code = api.call("POST", "/api/enrollments", body)["code"]
    run(PROGRAMS / "edge-agent", "enroll", *more, "--hub", api.base, "--code", code, "--name", "node", "--ca-file", str(HUB / "tls" / "ca.pem"),
        "--state-dir", AGENT)
    tell("ENROLLED", node=json.loads((AGENT / "identity.json").read_text())["node_id"])


def items(api, path):
    found, cursor, mark = [], "", "&" if "?" in path else "?"
    while True:
        page = api.call("GET", f"{path}{cursor}")
        found += page["items"]
        if not page.get("next_cursor"):
            return found
        cursor = f"{mark}cursor={page['next_cursor']}"


def ticker(api, node):
    """The bot that all is about."""
    bots = {bot["name"]: bot for bot in items(api, "/api/bots")}
    if "ticker" not in bots:
        made = api.call("POST", "/api/bots", {"name": "ticker", "node_id": node})
        tell("BOT", id=made["id"], name="ticker")
        api.call("POST", f"/api/bots/{made['id']}/start")
        return made["id"]
    if bots["ticker"]["desired_state"] != "running":
        api.call("POST", f"/api/bots/{bots['ticker']['id']}/start")
    return bots["ticker"]["id"]


def packets(api, bot, after):
    while page := api.call("GET", f"/api/bots/{bot}/packets?after={after}&limit=500")["items"]:
        yield from page
        after = page[-1]["id"]


def read_log(api, bot, where, offset=0):
    """Reads the log to its end: the lines of each launch come one after the other, only the last may be missing.

    Gives their number, and the last of them.
    """
    lines, newest, last, first = 0, None, {}, {}
    while True:
        # The node may have to dial again: such a machine is slow.
        page = wait("the log", lambda: api.call("GET", f"/api/bots/{bot}/logs?offset={offset}"))
        for line in page["lines"]:
            words = line["text"].split()
            if len(words) == 4 and words[0] == "line":
                launch, number = words[3], int(words[1])
                if number != last.get(launch, number - 1) + 1:
                    tell("LOG", where=where, launch=launch, expected=last[launch] + 1, comes=number)
                first.setdefault(launch, number)
                last[launch] = number
                lines, newest = lines + 1, line["text"]
        if page["next_offset"] == offset or not page["lines"]:
            break
        offset = page["next_offset"]
    tell("LINES", where=where, count=lines, first=first, next=offset)
    return lines, newest


def read_copy(api, node, bot):
    """The same of the hub's copy, which is read where the node is away."""
    written, newest = read_log(api, bot, "the node's log")
    if newest:
        files = HUB / "logs" / bot / node
        wait("the hub's copy to have come as far", lambda: any(newest.encode() in each.read_bytes() for each in files.iterdir()))
    os.kill(AGENT_PROCESS[0].pid, 9)
    wait("the node to be away", lambda: api.call("GET", f"/api/nodes/{node}")["health"] == "offline")
    if read_log(api, bot, "the hub's copy")[0] < written:
        tell("LOG", where="the hub's copy", launch="all", expected=written, comes=0)


def account(api, bot):
    """Tells all that was kept, for the host to compare."""
    for packet in packets(api, bot, 0 if PLAN["whole"] else PLAN["verified"]):
        tell("KEPT", id=packet["id"], journal=packet["journal_id"], seq=packet["sequence"], type=packet["type"], launch=packet.get("launch_id"),
             n=(packet.get("json") or {}).get("n"), gap=packet.get("gap"))
    # First from where an operator had come who read on before the cut.
    read_log(api, bot, "the rest of the log", PLAN["log"])
    if PLAN["whole"]:
        read_log(api, bot, "the node's log")
    for each in items(api, "/api/bots"):
        tell("HAS", id=each["id"], name=each["name"], config=each["config"], phase=each["phase"], code=each.get("reason_code"))
    # Of this boot and the one before: what is older was compared then.
    for boot in BOOT - 1, BOOT:
        try:
            entries = items(api, f"/api/bots/{bot}/conversations/boot-{boot}?limit=500")
        except Refused:
            continue
        for entry in entries:
            if entry["role"] == "user":
                tell("MESSAGE", id=entry["message_id"], text=entry["text"], state=entry["state"])
    for token in PLAN["tokens"]:
        try:
            api.call("GET", "/api/nodes", token=token)
            tell("TOKEN", token=token)
        except Refused as refused:
            tell("NOTOKEN", token=token, why=str(refused))
    for file in PLAN["files"]:
        def look_up():
            try:
                api.call("GET", f"/api/bots/{bot}/workspace/{file}")
                return "FILE"
            except Refused as refused:
                if refused.status != 404:
                    raise
                return "NOFILE"
        tell(wait(f"the file {file}", look_up), path=file, why="it is not there")


def look(api, bot):
    """Tells how far the packets have come, as an operator sees it."""
    after = PLAN["verified"]
    while True:
        last = None
        for packet in packets(api, bot, after):
            last = packet
        if last:
            after = last["id"]
            tell("SEEN", id=last["id"], journal=last["journal_id"], seq=last["sequence"], type=last["type"], launch=last.get("launch_id"),
                 n=(last.get("json") or {}).get("n"))
        time.sleep(0.05)


def talk(api, bot):
    number = 0
    while True:
        number += 1
        text = f"question {number} of boot {BOOT}"
        sent = api.call("POST", f"/api/bots/{bot}/messages", {"text": text, "conversation_id": f"boot-{BOOT}"})
        tell("SENT", id=sent["message_id"], text=text)
        time.sleep(0.1 * chance.random())


def operate(api, node, bot):
    """What operators do, one thing after the other."""
    number = 0
    own = [each["id"] for each in items(api, "/api/bots") if each["name"] != "ticker"]
    while True:
        number += 1
        kind = chance.choice(("create", "configure", "configure", "write", "write", "token", "delete", "start", "rotate", "enroll"))
        try:
            if kind == "create" and len(own) < 12:
                name = f"bot-{BOOT}-{number}"
                made = api.call("POST", "/api/bots", {"name": name, "node_id": node, "config": {"quiet": 1}})
                tell("BOT", id=made["id"], name=name)
                own.append(made["id"])
            elif kind == "configure" and own:
                each = chance.choice(own)
                api.call("PATCH", f"/api/bots/{each}", {"config": {"quiet": BOOT * 1000 + number}})
                tell("CONFIG", id=each, number=BOOT * 1000 + number)
            elif kind == "write":
                path = f"written/{BOOT}-{number}"
                api.call("PUT", f"/api/bots/{bot}/workspace/{path}", raw=b"x" * 1000)
                tell("WROTE", path=path)
            elif kind == "token":
                made = api.call("POST", "/api/tokens", {"name": f"token-{BOOT}-{number}", "ttl_seconds": 3600})
                tell("MADE", token=made["token"])
            elif kind == "delete" and len(own) > 6:
                each = own.pop(0)
                tell("DELETING", id=each)
                api.call("DELETE", f"/api/bots/{each}")
                tell("DELETED", id=each)
            elif kind == "start" and own:
                each = chance.choice(own)
                command = api.call("POST", f"/api/bots/{each}/start")["command_id"]
                for _ in range(100):
                    if api.call("GET", f"/api/commands/{command}")["state"] == "done":
                        tell("STARTED", id=each)
                        api.call("POST", f"/api/bots/{each}/stop")
                        break
                    time.sleep(0.05)
            elif kind == "rotate" and chance.random() < 0.3:
                api.call("POST", f"/api/nodes/{node}/rotate-token")
                tell("ROTATED", node=node)
            elif kind == "enroll" and chance.random() < 0.3:
                enroll(api, "--again", node_id=node)
        except Refused as refused:
            # As while the agent dials anew.
            if refused.status not in (409, 429, 503, 504):
                raise
        time.sleep(0.1 * chance.random())


def worker(name, *arguments):
    try:
        globals()[name](*arguments)
    except Exception as error:  # noqa: BLE001: the host is told, whatever it is
        tell("BROKEN", what=name, why=f"{type(error).__name__}: {error}")


def main():
    api, node = begin()
    bot = ticker(api, node)
    wait("the ticker to be ready", lambda: api.call("GET", f"/api/bots/{bot}")["phase"] == "ready")
    account(api, bot)
    if PLAN["last"]:
        read_copy(api, node, bot)
    tell("LOAD")
    if PLAN["last"]:
        return
    for name, arguments in ("look", (api, bot)), ("talk", (api, bot)), ("operate", (api, node, bot)):
        threading.Thread(target=worker, args=(name, *arguments), daemon=True).start()
    time.sleep(600)


main()
