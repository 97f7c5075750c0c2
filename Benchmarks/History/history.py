#!/usr/bin/env python3
"""What a hub's history costs: the same hub with an empty database, and with ROWS rows of what is over (default 10,000,000).

HUB and AGENT name the programs; COUNT=200 messages are sent, SECONDS_IDLE=20 the idle hub is watched, FOLDER holds the
database (about 600 bytes a row). JSON=1 prints one JSON object. Fails where anything takes more than 1.5 times as long."""

import json
import os
import pathlib
import shlex
import sqlite3
import sys
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "Runtime"))
from stage import Stage, program, wait_for  # noqa: E402

ROWS = int(os.environ.get("ROWS", "10000000"))
COUNT = int(os.environ.get("COUNT", "200"))
SECONDS_IDLE = float(os.environ.get("SECONDS_IDLE", "20"))
ALLOWED = 1.5
# Below this, differences are the machine's and not the database's.
FLOOR_MS, FLOOR_CPU_PERCENT, FLOOR_START_S = 3.0, 0.5, 0.3
BOT = pathlib.Path(__file__).with_name("bot.py")


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


class Events:
    """What the hub says of packets, with the time it came."""

    def __init__(self, stage):
        self.found, self.changed = {}, threading.Condition()
        request = urllib.request.Request(stage.url + "/api/events", headers={"Authorization": f"Bearer {stage.token}"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}),
                                             urllib.request.HTTPSHandler(context=stage.tls))
        self.stream = opener.open(request, timeout=600)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            for line in self.stream:
                now = time.monotonic_ns()
                if line.startswith(b"data:") and b"assistant_message" in line:
                    data = json.loads(line[5:])
                    with self.changed:
                        self.found[data["message_id"]] = (now, data["text"])
                        self.changed.notify_all()
        except (OSError, ValueError, AttributeError):
            pass

    def wait(self, message):
        with self.changed:
            if not self.changed.wait_for(lambda: message in self.found, 60):
                raise TimeoutError("a message was not answered in 60 s")
            return self.found.pop(message)


def lists(stage, bot):
    """Every list of the API that can have history in it, by what is asked for."""
    since = "since=2020-01-01T00:00:00Z"
    paths = ["/api/nodes", "/api/bots", f"/api/bots/{bot}/conversations", f"/api/bots/{bot}/conversations/main",
             f"/api/bots/{bot}/packets?order=desc", f"/api/bots/{bot}/packets", f"/api/bots/{bot}/packets?type=ready",
             f"/api/bots/{bot}/packets?conversation_id=main&order=desc", f"/api/bots/{bot}/deployments",
             "/api/commands", "/api/commands?open=true", f"/api/commands?node_id={stage.node}&state=failed",
             f"/api/commands?bot_id={bot}&{since}", "/api/commands?kind=none", "/api/audit", f"/api/audit?target={bot}",
             "/api/audit?action=none", "/api/enrollments", "/api/operators", "/api/retention/usage",
             "/api/retention/removals", f"/api/nodes/{stage.node}/resources", f"/api/nodes/{stage.node}/strays"]
    return {path.replace(bot, "BOT").replace(stage.node, "NODE"): path for path in paths}


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(stage, bot):
    result = {}
    events = Events(stage)
    there, acknowledged = [], []
    for turn in range(COUNT + 10):
        begin = time.monotonic_ns()
        sent = stage.call("POST", f"/api/bots/{bot}/messages", {"text": "hello", "conversation_id": "main"})
        arrived, text = events.wait(sent["message_id"])
        taken, answered = map(int, text.split())
        if turn >= 10:
            there.append((taken - begin) / 1e6)
            acknowledged.append((arrived - answered) / 1e6)
    result["message to agent"] = there
    result["packet to acknowledgement"] = acknowledged
    for name, path in lists(stage, bot).items():
        times = []
        for turn in range(33):
            begin = time.monotonic_ns()
            stage.call("GET", path)
            if turn >= 3:
                times.append((time.monotonic_ns() - begin) / 1e6)
        result[f"GET {name}"] = times
    figures = {name: {"p50_ms": percentile(times, 0.5), "p99_ms": percentile(times, 0.99)}
               for name, times in result.items()}
    time.sleep(3)
    before = cpu_seconds(stage.hub.pid)
    time.sleep(SECONDS_IDLE)
    figures["idle"] = {"cpu_percent": (cpu_seconds(stage.hub.pid) - before) / SECONDS_IDLE * 100}
    events.stream.close()
    return figures


def restart(stage):
    """Starts the hub where it was, and returns how long it takes to be ready."""
    data = stage.folder / "hub"
    begin = time.monotonic()
    address = stage.url.removeprefix("https://")
    stage.hub = stage._spawn("hub", [program("HUB", "control-hub"), "serve", "--listen", address, "--data-dir", data], {})
    wait_for("ready hub", lambda: stage.call("GET", "/readyz") is not None, 600)
    return time.monotonic() - begin


def stop(stage):
    stage.hub.terminate()
    stage.hub.wait(120)


def online(stage):
    wait_for("node online", lambda: stage.call("GET", f"/api/nodes/{stage.node}")["health"] == "online", 120)


def fill(path, rows, bot, node):
    """Puts what is over into the database, as a hub would have: half of it packets."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    database.execute("PRAGMA cache_size = -400000")
    triggers = [row for row in database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")]
    # Made anew behind the rows, in the order of each: in that of the rows it would take hours.
    indexes = [row for row in database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL "
                                               "AND tbl_name IN ('packets', 'messages', 'commands', 'audit')")]
    for name, _ in triggers:
        database.execute(f"DROP TRIGGER {name}")
    for name, _ in indexes:
        database.execute(f"DROP INDEX {name}")
    now = int(time.time() * 1000)
    # Younger than what retention takes away, and in the order it came in.
    at = f"({now - 6 * 86400_000} + i * {5 * 86400_000} / {max(1, rows // 2)})"
    numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"

    def insert(count, into, select):
        database.execute(f"INSERT INTO {into} {numbers.format(count=count)} SELECT {select} FROM n")
        database.commit()

    packets, messages, commands = rows // 2, rows // 5, rows // 5
    audit = rows - packets - messages - commands
    database.execute("BEGIN")
    conversations = ["main"] + [f"old-{number}" for number in range(200)]
    for name in conversations:
        database.execute("INSERT OR IGNORE INTO conversations (bot_id, id, created_at, updated_at) VALUES (?, ?, ?, ?)",
                         [bot, name, now, now])
    # Half of it in the conversation that goes on.
    place = "iif(i % 2, 'main', 'old-' || (i % 200))"
    insert(packets, "packets (journal_id, bot_id, sequence, node_id, launch_id, bot_sequence, type, conversation_id, "
           "message_id, turn_id, bot_time, received_at, stored_at, json, log_offset)",
           f"'journal-of-before', '{bot}', i, '{node}', 'launch-' || (i / 100000), i % 100000, 'progress', {place}, "
           f"'msg_' || (i / 3), 'turn_' || (i / 3), {at}, {at}, {at}, CAST('{{\"v\":1,\"type\":\"progress\",\"text\":"
           f"\"' || hex(randomblob(60)) || '\"}}' AS BLOB), i * 200")
    insert(messages, "messages (id, bot_id, conversation_id, sender, text, state, created_at, delivered_at, ended_at, "
           "launch_id, log_offset)",
           f"'msg_' || i, '{bot}', {place}, 'somebody', 'a text that was said ' || i, "
           f"iif(i % 50, 'answered', 'interrupted'), {at}, {at}, {at}, 'launch-0', i * 200")
    insert(commands, "commands (id, node_id, bot_id, message_id, kind, body, repeatable, actor, state, created_at, "
           "expires_at, delivered_at, finished_at)",
           f"'cmd_' || i, '{node}', '{bot}', 'msg_' || i, 'deliver_message', randomblob(60), 0, 'somebody', 'done', "
           f"{at}, {at} + 86400000, {at}, {at}")
    insert(audit, "audit (at, actor, action, target, detail)",
           f"{at}, 'somebody', 'message.send', '{bot}', 'msg_' || i")
    for _, sql in indexes:
        database.execute(sql)
    database.execute("UPDATE conversations SET message_count = (SELECT count(*) FROM messages m WHERE "
                     "m.bot_id = conversations.bot_id AND m.conversation_id = conversations.id)")
    # Not counted, so that retention leaves it alone: what is measured is history, and not that much of it goes.
    for _, sql in triggers:
        database.execute(sql)
    database.commit()
    database.execute("PRAGMA journal_mode = WAL")
    database.close()


def run():
    command = shlex.join([sys.executable, str(BOT)])
    with Stage(command, folder=os.environ.get("FOLDER")) as stage:
        bot = stage.start_bot("history")
        wait_for("ready bot", lambda: stage.call("GET", f"/api/bots/{bot}")["phase"] == "ready")
        figures = {}
        for name in ["empty", "full"]:
            stop(stage)
            if name == "full":
                begin = time.monotonic()
                fill(stage.folder / "hub/hub.sqlite", ROWS, bot, stage.node)
                print(f"filled in {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
            starts = []
            for _ in range(3):
                starts.append(restart(stage))
                if len(starts) < 3:
                    stop(stage)
            online(stage)
            figures[name] = measure(stage, bot) | {"start": {"s": percentile(starts, 0.5)}}
        size = (stage.folder / "hub/hub.sqlite").stat().st_size
    return {"rows": ROWS, "database_bytes": size, **figures}


def judged(result):
    """Each figure with both values, and whether history costs too much."""
    floors = {"p50_ms": FLOOR_MS, "p99_ms": FLOOR_MS, "cpu_percent": FLOOR_CPU_PERCENT, "s": FLOOR_START_S}
    for name, figures in result["empty"].items():
        for unit, before in figures.items():
            after = result["full"][name][unit]
            yield name, unit, before, after, after <= max(before * ALLOWED, before + floors[unit])


def main():
    result = run()
    rows = list(judged(result))
    if os.environ.get("JSON") == "1":
        print(json.dumps({**result, "too_much": [f"{name} {unit}" for name, unit, _, _, good in rows if not good]}))
    else:
        print(f"{result['rows']:,} rows, {result['database_bytes'] / 1e9:.2f} GB\n")
        print(f"{'':56} {'empty':>9} {'full':>9}")
        for name, unit, before, after, good in rows:
            print(f"{name + ' ' + unit:56} {before:9.2f} {after:9.2f}{'' if good else '   too much'}")
    if not all(good for *_, good in rows):
        sys.exit(1)


main()
