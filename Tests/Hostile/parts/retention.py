"""A node or bot that fills the hub, and what is left of what was deleted.

What must hold: nobody loses records to somebody who floods, a deleted bot leaves no word in any file, and the database's file
becomes small again.
"""

import json
import os
import time

from attack import Part, judge
from node import DATA, PACKETS, Node, enroll, now_ms
from protobuf import encode, message
from stage import Stage, wait

# So small that a flood of seconds fills it.
KEPT = 400


class Filled(Stage):
    """A hub that keeps little, and nodes that are only a socket."""

    def __init__(self, programs, folder, environment):
        super().__init__(programs, folder)
        self.environment |= environment | {"HUB_KEEP_PACKETS": f"rows={KEPT},bot-rows=off", "HUB_RETENTION_INTERVAL": "1s"}
        self.nodes = 0

    def begin(self):
        self.raise_hub()
        self.admin = self.operator("the-admin", "admin")["token"]

    def bot_on_node(self):
        """A bot placed on a node that is a connection of ours."""
        self.nodes += 1
        identity = enroll(self, self.admin, f"filler-{self.nodes}")
        bot = self.send("POST", "/api/bots", token=self.admin,
                        body={"name": f"bot-{self.nodes}", "node_id": identity["node_id"], "runtime_profile": "default"})
        node = Node(self.address, identity["token"])
        node.hello(identity["node_id"])
        node.open_packets()
        return node, bot.json["id"]

    def packets(self, bot):
        """Numbers of the bot's packets that are kept."""
        kept, path = [], f"/api/bots/{bot}/packets?limit=500"
        while path:
            page = self.send("GET", path, token=self.admin).json
            kept += [item["sequence"] for item in page["items"] if not item.get("gap")]
            path = f"/api/bots/{bot}/packets?limit=500&cursor={page['next_cursor']}" if page.get("next_cursor") else None
        return kept

    def retention(self):
        return self.send("GET", "/api/retention", token=self.admin).json

    def kept(self, kind):
        return next(each["rows"] for each in self.retention()["kinds"] if each["kind"] == kind)

    def files(self):
        for folder, _, names in os.walk(self.data):
            for name in names:
                yield os.path.join(folder, name)

    def holding(self, text):
        """Files of the hub that hold a text."""
        found = []
        for path in self.files():
            try:
                with open(path, "rb") as file:
                    if text.encode() in file.read():
                        found.append(os.path.relpath(path, self.data))
            except FileNotFoundError:
                pass
        return found


def send(node, bot, first, count, text, size=0):
    """Packets in batches, each acknowledged before the next."""
    body = json.dumps({"type": "note", "text": text + "x" * size}).encode()
    each = max(1, min(100, 40_000 // (len(body) + 200)))
    for start in range(first, first + count, each):
        batch = b"".join(
            message(1, encode((1, bot), (2, number), (3, "launch-1"), (5, "note"), (10, now_ms()), (11, body)))
            for number in range(start, min(start + each, first + count)))
        node.send(DATA, PACKETS, batch)
        for kind, stream, _ in node.messages(10):
            if kind == DATA and stream == PACKETS:
                break
        else:
            raise OSError(f"packet {start} of {bot} was not acknowledged")


part = Part("retention", Filled)


@part.attack("a bot that floods pushes out what a quiet one has said", "kept-shares")
def flood(stage):
    quiet, flooding = stage.bot_on_node(), stage.bot_on_node()
    send(*quiet, 1, 60, "quiet")
    send(*flooding, 1, 5 * KEPT, "flood")
    wait("retention to have done its work", lambda: stage.kept("packets") <= KEPT)
    left, flooded = stage.packets(quiet[1]), stage.packets(flooding[1])
    # The flood's own newest are kept, as far as there is room.
    is_newest = flooded == list(range(5 * KEPT - len(flooded) + 1, 5 * KEPT + 1))
    return judge(left == list(range(1, 61)) and is_newest,
                 f"{len(left)} of 60 quiet packets kept, {len(flooded)} of the flood's {5 * KEPT}")


@part.attack("packets that retention removed are sent again", "removed-stays")
def again(stage):
    node, bot = stage.bot_on_node()
    send(node, bot, 1, 2 * KEPT, "once")
    wait("retention to have done its work", lambda: stage.kept("packets") <= KEPT)
    before = stage.packets(bot)
    send(node, bot, 1, 2 * KEPT, "twice")
    after = stage.packets(bot)
    gone = [number for number in after if number not in before]
    told = stage.send("GET", f"/api/bots/{bot}/packets?limit=1", token=stage.admin).json["items"][0].get("gap") or {}
    return judge(not gone and told.get("reason") == "retention" and len(before) > 10,
                 f"{len(gone)} came back; {told.get('missing_packets')} are told as removed")


def delete(stage, bot):
    stage.send("DELETE", f"/api/bots/{bot}", token=stage.admin)
    wait("the deletion to be carried through", lambda: not stage.retention()["deletions"], 20)


@part.attack("a deleted bot's words are looked for in the API and in every file of the hub", "purging")
@part.attack("a deleted bot's words are looked for in every file of the hub, in what is free of it too", "erasing")
def words(stage):
    word = f"word-{os.urandom(8).hex()}"
    node, bot = stage.bot_on_node()
    for _ in range(3):
        stage.send("POST", f"/api/bots/{bot}/messages", token=stage.admin, body={"text": word})
    send(node, bot, 1, 100, word)
    stage.send("PATCH", f"/api/bots/{bot}", token=stage.admin, body={"config": {"word": word}})
    if not stage.holding(word):
        raise OSError("the word was never there")
    node.close()
    stage.send("DELETE", f"/api/bots/{bot}", token=stage.admin)
    deadline = time.monotonic() + 8
    while (found := stage.holding(word)) and time.monotonic() < deadline:
        time.sleep(0.2)
    pending = stage.retention()["deletions"]
    answer = stage.send("GET", f"/api/bots/{bot}/packets", token=stage.admin).status
    return judge(not found and not pending and answer == 404, f"found in {found or 'no file'}; its packets: {answer}")


@part.attack("a bot fills the database and is deleted, and the file stays as large", "shrinking")
def size(stage):
    node, bot = stage.bot_on_node()
    send(node, bot, 1, 120, "large", 40_000)
    full = stage.retention()["database_bytes"]
    node.close()
    delete(stage, bot)
    deadline = time.monotonic() + 8
    path = stage.data / "hub.sqlite"
    while (left := path.stat().st_size) > full / 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    return judge(full > 4_000_000 and left <= full / 2, f"{full // 1024} KiB, {left // 1024} KiB after the deletion")
