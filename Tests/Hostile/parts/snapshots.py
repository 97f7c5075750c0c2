"""Nodes that are asked for a workspace and say nothing, or more than anybody can hold.

What must hold: the snapshots of other nodes' bots are taken meanwhile, nobody waits for ever, and the hub's memory does not grow with
the list of a workspace. The hub runs with its limits on time divided by twenty.
"""

import threading
import time
import zlib

from attack import Part, judge
from node import OPEN, RESET
from protobuf import decode, encode, message
from stage import wait

from parts.shares import Shares

TIMES = 20
# A node may say nothing for two minutes.
SILENCE = 120 / TIMES
SYNC_SOURCE = 5


class Snapshots(Shares):
    def __init__(self, programs, folder, environment):
        super().__init__(programs, folder, environment)
        self.environment["HUB_TEST_IMPATIENCE"] = str(TIMES)

    def begin(self):
        super().begin()
        # Enough for what is asked of its workspace.
        self.other = self.send("POST", "/api/bots", token=self.admin, body={"name": "other", "node_id": self.node}).json["id"]
        self.send("POST", f"/api/bots/{self.other}/start", token=self.admin)
        wait("a first snapshot", lambda: self.take(self.other)[0] == 201)

    def take(self, bot, timeout=30):
        """The answer to a snapshot of a bot, in a few words, and how long it took."""
        began = time.monotonic()
        try:
            answer = self.send("POST", f"/api/bots/{bot}/snapshots", token=self.admin, timeout=timeout)
            status, code = answer.status, answer.code
        except OSError as fault:
            status, code = 0, type(fault).__name__
        return status, code, time.monotonic() - began

    def asked(self, node, seconds=5):
        """The stream on which the hub next asks for a workspace."""
        for kind, stream, payload in node.messages(seconds):
            if kind == OPEN and SYNC_SOURCE in decode(payload):
                return stream
        raise OSError("the hub did not ask for a workspace")


class Beside(threading.Thread):
    """Does something meanwhile, for as long as it is needed."""

    def __init__(self, body):
        super().__init__(daemon=True)
        self.body, self.result = body, None
        self.start()

    def run(self):
        self.result = self.body()


part = Part("snapshots", Snapshots)


def alive(node, seconds):
    """A node that is there, and says no word but its heartbeats."""
    until, sequence = time.monotonic() + seconds, 1
    while time.monotonic() < until and node.take(0.3):
        sequence += 1
        node.heartbeat(sequence)
    while time.monotonic() < until and node.closed is None:
        sequence += 1
        node.heartbeat(sequence)
        node.take(0.3)


@part.attack("snapshots of six bots of a node that says nothing", "snapshot-shares")
def share(stage):
    node, _, bots = stage.greedy(bots=6)
    silent = [Beside(lambda bot=bot: stage.take(bot)) for bot in bots]
    beside = Beside(lambda: alive(node, 2 * SILENCE))
    wait("the node's share", lambda: sum(one.result is not None for one in silent) >= 2, 5)
    time.sleep(0.3)
    status, code, seconds = stage.take(stage.other)
    beside.join(30)
    node.close()
    return judge(status == 201, f"one of another node's bot meanwhile: {status} {code or ''} in {seconds:.1f} s")


@part.attack("a snapshot of a bot whose node says nothing", "node-patience")
def silence(stage):
    node, _, (bot,) = stage.greedy(bots=1)
    beside = Beside(lambda: alive(node, 3 * SILENCE))
    status, code, seconds = stage.take(bot, timeout=2.5 * SILENCE)
    node.closed = node.closed or 1000
    beside.join(10)
    node.close()
    return judge(status == 504 and code == "agent_timeout", f"{status} {code} after {seconds:.1f} s")


@part.attack("clients that ask for snapshots and hang up")
def hung_up(stage):
    (node, _, bots), (second, _, others) = stage.greedy(bots=3), stage.greedy(bots=2)
    for one in node, second:
        Beside(lambda one=one: alive(one, 5))
    gone = [Beside(lambda bot=bot: stage.take(bot, timeout=1)) for bot in bots[:2] + others]
    for one in gone:
        one.join(5)
    time.sleep(0.3)
    # It is not answered either: the place is what counts.
    status, code, seconds = stage.take(bots[2], timeout=2)
    node.closed = second.closed = 1000
    return judge(status == 0, f"another is {'under way' if status == 0 else 'refused'} ({status} {code}, {seconds:.1f} s)")


def entries(first, count):
    """A message of the manifest: empty directories with long names, compressed."""
    plain = message(2, b"".join(message(1, encode((1, f"d{number:09}" + "x" * 240), (2, 2), (3, 0o755)))
                                for number in range(first, first + count)))
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    return len(plain), message(1, encode((1, len(plain)), (2, deflate.compress(plain) + deflate.flush())))


@part.attack("a list of 480,000 entries with names of 250 bytes, compressed to a hundredth")
def long_list(stage):
    node, _, (bot,) = stage.greedy(bots=1)
    asking = Beside(lambda: stage.take(bot, timeout=60))
    stream = stage.asked(node)
    before, most, plain = stage.rss(), 0, 0
    for batch in range(40):
        size, data = entries(batch * 12_000, 12_000)
        plain += size
        if not node.pour(data, stream, patience=10):
            break
        most = max(most, stage.rss() - before)
    node.send_bytes(node.frame(RESET, stream, encode((1, 1))))
    asking.join(10)
    node.close()
    time.sleep(0.5)
    seen = f"of {plain >> 20} MB, hub +{most:.0f} MB meanwhile, +{stage.rss() - before:.0f} MB afterwards"
    return judge(batch == 39 and most < 60, seen)
