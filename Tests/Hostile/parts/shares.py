"""Nodes, bots and listeners that want more than their share: texts and lists of any length, floods, and reading nothing.

What must hold: the hub's memory and database grow by what the sender may have, everybody else is answered as before, and an
operator sees what was held back.
"""

import json
import os
import shlex
import socket
import struct
import sys
import time

from attack import Part, judge
from node import DATA, END, MAX_PAYLOAD, MORE, OPEN, PACKETS, RESET, WINDOW, Node, enroll, now_ms
from protobuf import decode, encode, message
from stage import Stage, wait

MEBIBYTE = 1 << 20
# That a stream begins with.
CREDIT = 256 << 10

# Prints packets with a type of 900 kB and long names, and then more packets than anybody wants.
GREEDY_BOT = """
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
prefix = os.environ["BOT_PACKET_PREFIX"]
def say(**fields):
    sys.stdout.write(prefix + json.dumps({"v": 1, "ts": 1767225600000, **fields}) + "\\n")
say(seq=1, type="lifecycle", event="ready")
for number in range(5):
    say(seq=2 + number, type="t" * 900_000)
    say(seq=10 + number, type="note", conversation_id="c" * 9000, turn_id="\\u00e9" * 9000)
for number in range(2000):
    say(seq=100 + number, type="note", text="x" * 100)
sys.stdout.flush()
time.sleep(3600)
"""


class Greedy(Node):
    """A node that keeps to the credit of its streams, so that nothing but what it sends can be held against it."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.credit = {}
        self.acknowledged = {}
        self.commands = {}

    def take(self, seconds):
        """Notes what one message of the hub says. False: none came in time."""
        try:
            data = self.receive(seconds)
        except TimeoutError:
            return False
        for kind, stream, payload in self.whole(data or b""):
            if kind == WINDOW:
                self.credit[stream] = self.credit.get(stream, CREDIT) + struct.unpack(">I", payload)[0]
            elif kind == DATA and stream == PACKETS:
                for cursor in decode(payload).get(1, []):
                    fields = decode(cursor)
                    self.acknowledged[fields[1][0].decode()] = fields[2][0]
            elif kind == OPEN and 1 in (header := decode(payload)):
                self.commands[stream] = decode(header[1][0])
        return self.closed is None

    def has(self, bot, sequence):
        """Whether the hub has acknowledged so far; takes what it says meanwhile."""
        if self.acknowledged.get(bot, 0) < sequence:
            self.take(0.5)
        return self.acknowledged.get(bot, 0) >= sequence

    def pour(self, message, stream=PACKETS, patience=5.0):
        """Sends a message on a stream as the credit allows. False: none came in time."""
        for start in range(0, len(message), MAX_PAYLOAD):
            piece = message[start:start + MAX_PAYLOAD]
            until = time.monotonic() + patience
            while self.credit.get(stream, CREDIT) < max(64, len(piece)):
                if time.monotonic() > until or self.closed:
                    return False
                self.take(max(0.01, until - time.monotonic()))
            self.credit[stream] = self.credit.get(stream, CREDIT) - max(64, len(piece))
            self.send_bytes(self.frame(DATA, stream, piece, MORE if start + MAX_PAYLOAD < len(message) else 0))
        return True


def packet(bot, sequence, kind="note", body=b"{}", **texts):
    named = {int(name[1:]): text for name, text in texts.items()}
    return message(1, encode(*sorted({1: bot, 2: sequence, 3: "launch-1", 5: kind, 10: now_ms(), 11: body, **named}.items())))


class Shares(Stage):
    def __init__(self, programs, folder, environment):
        super().__init__(programs, folder)
        self.environment |= environment
        # Small, so that a flood reaches them in seconds.
        self.environment |= {"HUB_PACKET_RATE": "50", "HUB_MESSAGE_RATE": "10"}
        self.nodes = 0

    def begin(self):
        script = self.folder / "greedy-bot.py"
        script.write_text(GREEDY_BOT)
        self.raise_hub()
        self.admin = self.operator("the-admin", "admin")["token"]
        command = f"{shlex.quote(sys.executable)} {script} --config {{config}} --workspace {{workspace}}"
        self.environment["EDGE_NATIVE_COMMAND"] = command
        self.pair(self.admin)

    def start(self, arguments, log, **more):
        # The stage's own command would win over the greedy bot's.
        more.pop("EDGE_NATIVE_COMMAND", None)
        return super().start(arguments, log, **more)

    def greedy(self, *more, bots=0, **fields):
        """A node of its own for each attack: its connection, its id and the ids of its bots."""
        self.nodes += 1
        identity = enroll(self, self.admin, f"greedy-{self.nodes}")
        ids = [self.send("POST", "/api/bots", token=self.admin,
                         body={"name": f"greedy-{self.nodes}-{number}", "node_id": identity["node_id"]}).json["id"]
               for number in range(bots)]
        node = Greedy(self.address, identity["token"])
        node.welcome = node.hello(identity["node_id"], *more, **fields)
        return node, identity["node_id"], ids

    def rss(self):
        status = self.read(f"/proc/{self.hub.pid}/status")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def processor(self):
        """Seconds of processors that the hub has had."""
        user, system = self.read(f"/proc/{self.hub.pid}/stat").rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def database(self):
        return sum(file.stat().st_size for file in self.data.glob("*.sqlite*")) / MEBIBYTE

    def answer(self, path):
        """What a list costs its reader: bytes and seconds, and the list."""
        began = time.monotonic()
        answer = self.send("GET", path, token=self.admin)
        return len(answer.body), time.monotonic() - began, answer.json

    def marks(self, node):
        return {item["code"]: item["count"]
                for item in self.send("GET", f"/api/nodes/{node}", token=self.admin).json.get("problems", [])}

    def metric(self, name):
        text = self.send("GET", "/metrics", token=self.admin, headers={"Accept": "text/plain"}).body.decode()
        return next((float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.split(" ")[0] == name), 0.0)

    def quiet(self, name):
        """A counter once it has stopped growing: what others have sent before is taken by then."""
        before = self.metric(name)
        time.sleep(0.5)
        while (now := self.metric(name)) - before > 20:
            before = now
            time.sleep(0.5)
        return now


part = Part("shares", Shares)


@part.attack("a node's packets with types and names of 900 kB", "text-bounds")
def long_types(stage):
    node, node_id, (bot,) = stage.greedy(bots=1)
    node.open_packets()
    before, data = stage.rss(), stage.database()
    long = "t" * 900_000
    for sequence in range(1, 61):
        name = ("f3", "f6", "f7", "f8")[sequence % 4]
        if not node.pour(packet(bot, sequence, long if sequence % 2 else "note", **{name: long})):
            return judge(False, "the hub does not take packets")
    wait("the last acknowledgement", lambda: node.has(bot, 60))
    size, seconds, page = stage.answer(f"/api/bots/{bot}/packets?limit=500")
    longest = max(len(item.get(name) or "") for item in page["items"] for name in ("type", "launch_id", "turn_id"))
    grown, stored = stage.rss() - before, stage.database() - data
    seen = f"longest {longest}, a list of {size} bytes in {seconds:.2f} s, hub +{grown:.0f} MB, database +{stored:.1f} MB"
    return judge(longest <= 200 and size < 200_000 and stored < 5 and "fields_cut" in stage.marks(node_id), seen)


@part.attack("Hellos of 3.9 MB: one long text, 100,000 capabilities and profiles, a million bots", "text-bounds")
def large_hello(stage):
    pair = message(14, encode((1, "n" * 30), (2, "true")))
    worst, seen = 0, []
    fields = {"text": b"", "capabilities": pair * (3_900_000 // len(pair)), "profiles": message(15, b"") * 1_300_000,
              "unknown field": message(200, b"x" * 3_900_000), "policy": message(19, message(2, b"r" * 3_900_000)),
              "bots": b"\x8a\x01\x00" * 1_300_000}
    before = stage.rss()
    for name, more in fields.items():
        node, node_id, _ = stage.greedy(more, **({"f12": "h" * 3_900_000} if name == "text" else {}))
        if node.welcome is None:
            seen.append(f"{name}: refused")
            continue
        size, _, _ = stage.answer(f"/api/nodes/{node_id}")
        worst = max(worst, size)
        if name != "unknown field" and "fields_cut" not in stage.marks(node_id):
            return judge(False, f"{name}: no mark")
        node.close()
    size, seconds, _ = stage.answer("/api/nodes")
    seen.append(f"the largest node is {worst} bytes, all are {size} in {seconds:.2f} s, hub +{stage.rss() - before:.0f} MB")
    return judge(worst < 150_000, "; ".join(seen))


@part.attack("6,000 packets of bots that do not exist", "known-bots")
def unknown_bots(stage):
    node, node_id, _ = stage.greedy()
    node.open_packets()
    data, packets = stage.database(), stage.metric("controlhub_packets_stored_total")
    body = json.dumps({"type": "note", "text": "x" * 500}).encode()
    for batch in range(6):
        # The node's own quota is 8,000 at once.
        if not node.pour(b"".join(packet(f"nobody-{batch}-{number % 50}", number + 1, body=body) for number in range(1000))):
            return judge(False, "the hub does not take packets")
    wait("the last acknowledgement", lambda: node.has("nobody-5-49", 1000))
    stored = stage.metric("controlhub_packets_stored_total") - packets
    seen = f"all acknowledged, {stored:.0f} stored, database +{stage.database() - data:.1f} MB, marks {stage.marks(node_id)}"
    return judge(stored == 0 and stage.marks(node_id).get("packets_refused") == 6000, seen)


@part.attack("a node's packets as fast as they are taken", "sender-quotas")
def packet_flood(stage):
    node, node_id, (bot,) = stage.greedy(bots=1)
    node.open_packets()
    began, sequence, slowest, problems = time.monotonic(), 0, 0.0, set()
    while time.monotonic() - began < 60 and node.acknowledged.get(bot, 0) < 4000 and "packets_slowed" not in problems:
        batch = b"".join(packet(bot, sequence + number + 1) for number in range(100))
        if not node.pour(batch, patience=1):
            break
        sequence += 100
        if sequence % 1000 == 0:
            slowest = max(slowest, stage.answer("/api/nodes")[1])
            shown = stage.send("GET", f"/api/bots/{bot}", token=stage.admin).json["problems"]
            problems = {item["code"] for item in shown}
    while node.take(0.5):
        pass
    slowest = max(slowest, stage.answer("/api/nodes")[1])
    problems |= {item["code"] for item in stage.send("GET", f"/api/bots/{bot}", token=stage.admin).json["problems"]}
    lasted, taken = time.monotonic() - began, node.acknowledged.get(bot, 0)
    node.close()
    seen = f"{taken} taken in {lasted:.1f} s of {sequence} sent, an operator waited {slowest:.2f} s at most, the bot shows {problems}"
    # 2,000 at once, 50 a second, what may be on its way when the node is asked to hold the bot back, and the batch that was the last.
    return judge(taken <= 2400 + 50 * lasted and "packets_slowed" in problems and slowest < 2, seen)


def flood(stage, payload, seconds=6):
    """Session messages for so long; how many events came of them, and how long an operator waited."""
    node, node_id, (bot,) = stage.greedy(bots=1)
    events = stage.quiet("controlhub_events_total")
    began, sent = time.monotonic(), 0
    # Longer than a busy machine takes to read on, so that only a hub that holds the node back ends it early.
    node.socket.settimeout(3)
    while time.monotonic() - began < seconds:
        data = b"".join(node.frame(DATA, 0, payload(bot, sent + number)) for number in range(50))
        try:
            node.send_bytes(data)
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            break
        sent += 50
    size, waited, _ = stage.answer("/api/nodes")
    told = stage.metric("controlhub_events_total") - events
    marks = stage.marks(node_id)
    node.close()
    return sent, told, waited, marks


@part.attack("a node's reports of its bot's state as fast as they are taken", "sender-quotas")
def status_flood(stage):
    def report(bot, number):
        return message(5, message(1, encode((1, bot), (2, 1 + number % 3), (3, f"why {number}"))) + encode((2, number + 1)))

    sent, told, waited, marks = flood(stage, report)
    seen = f"{sent} were sent, {told:.0f} events came of them, an operator waited {waited:.2f} s, marks {marks}"
    return judge(told < 700 and waited < 2 and "messages_slowed" in marks, seen)


@part.attack("a node's figures as fast as they are taken")
def telemetry_flood(stage):
    def figures(bot, number):
        return message(6, message(1, encode((1, 4), (7, 1 << 30), (19, now_ms()))))

    sent, told, waited, marks = flood(stage, figures)
    seen = f"{sent} were sent, {told:.0f} events came of them, an operator waited {waited:.2f} s, marks {marks}"
    # Of many that wait the session hands on the newest alone, and what comes of that may stay within the quota.
    return judge(told < 200 and waited < 2 and ("figures_dropped" in marks or told < 50), seen)


@part.attack("sixteen streams for packets in one message")
def many_streams(stage):
    node, node_id, _ = stage.greedy()
    node.send_bytes(b"".join(node.frame(OPEN, 2 * number + 1, message(2, encode((1, "journal-1")))) for number in range(16)))
    node.heartbeat(2)
    resets = {stream for kind, stream, _ in node.messages(2) if kind == RESET}
    status = stage.send("GET", f"/api/nodes/{node_id}", token=stage.admin).status
    node.close()
    return judge(len(resets) == 15 and status == 200, f"the hub reset {len(resets)} of them and answers {status}")


@part.attack("a node that goes away with a command unanswered")
def gone_with_a_command(stage):
    node, _, (bot,) = stage.greedy(bots=1)
    stage.send("POST", f"/api/bots/{bot}/start", token=stage.admin)
    wait("the command", lambda: node.take(2) and node.commands)
    node.close()
    time.sleep(1)
    before = stage.processor()
    time.sleep(3)
    share = (stage.processor() - before) / 3
    return judge(share < 0.3, f"the hub took {share:.0%} of a processor afterwards")


@part.attack("a command's result of 3.9 MB", "text-bounds")
def large_result(stage):
    node, node_id, (bot,) = stage.greedy(bots=1)
    stage.send("POST", f"/api/bots/{bot}/start", token=stage.admin)
    wait("the command", lambda: node.take(2) and node.commands)
    stream, command = next(iter(node.commands.items()))
    result = encode((1, command[1][0]), (2, 2), (3, "e" * 1_900_000), (4, "m" * 1_900_000))
    if not node.pour(result, stream):
        return judge(False, "the hub does not take the result")
    node.send_bytes(node.frame(END, stream))
    path = f"/api/commands?node_id={node_id}"
    wait("the result", lambda: stage.answer(path)[2]["items"][0]["state"] == "failed")
    size, _, page = stage.answer(path)
    return judge(size < 20_000 and "fields_cut" in stage.marks(node_id), f"the list is {size} bytes")


@part.attack("a bot's packets with types and names of 900 kB, and two thousand more", "text-bounds")
def greedy_bot(stage):
    bot = stage.send("POST", "/api/bots", token=stage.admin, body={"name": "greedy", "node_id": stage.node}).json["id"]
    stage.send("POST", f"/api/bots/{bot}/start", token=stage.admin)

    def newest():
        items = stage.send("GET", f"/api/bots/{bot}/packets?order=desc&limit=1", token=stage.admin).json["items"]
        return items and items[0]["bot_sequence"] == 2099

    wait("the bot's last packet", newest)
    _, _, page = stage.answer(f"/api/bots/{bot}/packets?limit=500")
    longest = max(len((item.get(name) or "").encode()) for item in page["items"] for name in ("type", "conversation_id", "turn_id"))
    state = stage.send("GET", f"/api/bots/{bot}", token=stage.admin).json
    problems = {item["code"] for item in state["problems"]}
    size, seconds, _ = stage.answer(f"/api/bots/{bot}/packets?limit=500&type=note")
    seen = f"longest {longest} bytes, a page of {size} in {seconds:.2f} s, the bot shows {sorted(problems)}"
    return judge(longest <= 200 and "bad_packet" in problems and state["restart_count"] == 0, seen)


def fill_ring(stage):
    node, node_id, bots = stage.greedy(bots=4)
    node.open_packets()
    body = json.dumps({"type": "note", "text": "x" * 4000}).encode()
    for batch in range(60):
        bot, first = bots[batch % 4], batch // 4 * 100 + 1
        if not node.pour(b"".join(packet(bot, first + number, body=body) for number in range(100))):
            return False
    wait("the last acknowledgement", lambda: all(node.has(bot, 1500) for bot in bots))
    return True


@part.attack("6,000 packets whose events are as large as they can be", "event-bytes")
def large_events(stage):
    before = stage.rss()
    if not fill_ring(stage):
        return judge(False, "the hub does not take packets")
    kept = stage.metric("controlhub_event_ring_bytes") / MEBIBYTE
    return judge(0 < kept <= 17, f"events take {kept:.1f} MiB, hub +{stage.rss() - before:.0f} MB")


@part.attack("a listener that opens the stream of events and reads nothing", "stream-deadline", quick=False)
def deaf_listener(stage):
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.connect(stage.address)
        listener.sendall(f"GET /api/events?after=x HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {stage.admin}\r\n\r\n".encode())
        wait("the stream", lambda: stage.metric("controlhub_event_streams") == 1)
        before = stage.rss()
        if not fill_ring(stage):
            return judge(False, "the hub does not take packets")
        grown, began = stage.rss() - before, time.monotonic()
        while time.monotonic() - began < 45 and stage.metric("controlhub_event_streams"):
            time.sleep(1)
        waited = time.monotonic() - began
        return judge(waited < 45 and grown < 100, f"let go after {waited:.0f} s, hub +{grown:.0f} MB meanwhile")


@part.attack("requests with texts of 60 kB", "body-bounds")
def long_texts(stage):
    long = "x" * 60_000
    answers = {}
    for path, body in {"bots": {"name": "b", "node_id": long}, "nodes": {"name": long},
                       "operators": {"name": long, "role": "viewer"}, "enrollments": {"name": "e", "node_id": long}}.items():
        answer = stage.send("POST", f"/api/{path}", token=stage.admin, body=body)
        answers[path] = (answer.status, "characters; at most" in (answer.json or {}).get("detail", ""), len(answer.body))
    return judge(all(status == 422 and told and size < 1000 for status, told, size in answers.values()), f"answered {answers}")
