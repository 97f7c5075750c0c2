"""The three forms in which a copy comes back, and what must hold after each."""

import collections
import pathlib
import re
import shutil
import sqlite3
import subprocess
import tempfile
import time

from census import Census, workspaces
from deeds import Deeds
from fleet import Node
from stage import Failure, wait

BOTS = 10


class Story:
    """What is the same in all of them."""

    def __init__(self, fleet, chance, operations):
        self.fleet, self.random, self.operations = fleet, chance, operations
        self.deeds = Deeds(fleet, chance)
        self.violations = []
        self.before = self.after = None
        self.said = 0

    def counts(self):
        if not self.after:
            return ["", "", "", ""]
        return [f"{len(self.before.trees)} → {len(self.after.trees)}", f"{len(self.before.running)} → {len(self.after.running)}",
                f"{len(self.before.snapshots)} → {len(self.after.snapshots)}", str(self.said)]

    def require(self, condition, text):
        if not condition:
            self.violations.append(text)

    def begin(self):
        """Ten bots with something to lose."""
        self.fleet.begin()
        for _ in range(BOTS):
            self.deeds.create()
        self.deeds.rest()
        self.deeds.some(max(10, self.operations // 4))
        if self.random.random() < 0.7:
            self.deeds.all_back()
            self.deeds.rest()

    def live(self):
        """The operations between the copy and its return."""
        self.deeds.some(self.operations)
        if self.random.random() < 0.7:
            self.deeds.all_back()
            self.deeds.rest()

    def is_given_up(self, bot):
        """Whether an operator has had it deleted with its workspace."""
        return self.deeds.deleted.get(bot) is False

    # What there is

    def name(self, node):
        return next(each.name for each in self.fleet.nodes if each.id == node)

    def bots(self):
        return {bot["id"]: bot for bot in self.fleet.items("/api/bots")}

    def strays(self):
        return {(node.name, stray["bot_id"]): stray for node in self.fleet.nodes if node.id
                for stray in self.fleet.get(f"/api/nodes/{node.id}/strays")["items"]}

    def settled(self):
        """Nothing is under way, and what runs has not changed for a while."""
        last, since = None, time.monotonic()

        def quiet():
            nonlocal last, since
            now = sorted((each.node, each.bot, each.pid) for each in self.fleet.running()), self.under_way(), self.strange()
            if now != last or now[1]:
                last, since = now, time.monotonic()
            return time.monotonic() - since > 3
        try:
            wait("everything to come to rest", quiet, 180)
        except Failure as failure:
            raise Failure(f"{failure}: {last[1]}")

    def under_way(self):
        found = [each["id"] for bot in self.bots() for each in self.fleet.get(f"/api/bots/{bot}/deployments?limit=5")["items"]
                 if each["state"] in ("running", "returning")]
        return found + [f"{each['kind']} {each['id']} {each['state']} {each.get('waiting_reason')}" for state in ("queued", "delivered", "running")
                        for each in self.fleet.get(f"/api/commands?state={state}&limit=200")["items"]]

    def strange(self):
        return sorted((bot["id"], bot["phase"]) for bot in self.bots().values() if bot["phase"] in ("starting", "stopping", "preparing", "backoff"))

    # What must hold

    def check_record(self):
        """What the hub shows is what there is; what it cannot show by a bot's record it shows as a stray."""
        names = {node.id: node.name for node in self.fleet.nodes if node.id}
        bots, strays = self.bots(), self.strays()
        placed = {}
        for bot in bots.values():
            where = names[bot["node_id"]]
            placed[bot["id"]] = where
            runs = [node for node, each in self.after.running if each == bot["id"]]
            if bot["phase"] == "ready":
                self.require(runs == [where], f"{bot['id']} is shown as ready on {where} and runs on {runs or 'no node'}")
            else:
                self.require(where not in runs, f"{bot['id']} is shown as {bot['phase']} ({bot.get('reason')}) and runs on {where}")
            if bot["phase"] == "failed":
                self.require(bot.get("reason"), f"{bot['id']} failed for no reason")
            if (where, bot["id"]) not in self.after.trees and (bot["phase"] not in ("failed", "unknown", "created", "stopped") or
                                                              (bot["phase"] == "failed" and bot.get("reason_code") not in ("not_on_node", "files_missing"))):
                self.require(False, f"{bot['id']} has nothing on {where} and is shown as {bot['phase']}: {bot.get('reason')}")
        for node, bot in sorted(set(self.after.trees) | self.after.running):
            if placed.get(bot) != node and not (self.deeds.deleted.get(bot) and bot not in placed):
                self.require((node, bot) in strays, f"{node} holds {bot}, which is placed on {placed.get(bot, 'no node')}, and no stray says so")
                self.said += (node, bot) in strays
        twice = [bot for bot, count in collections.Counter(bot for _, bot in self.after.running).items() if count > 1]
        self.require(not twice, f"{twice} run twice")

    def check_nothing_lost(self):
        self.violations += self.after.lost(self.before, self.is_given_up)
        gone = self.before.snapshots - self.after.snapshots
        self.require(not gone, f"snapshots are gone: {sorted(gone)}")
        for bot in self.bots():
            for snapshot in self.fleet.get(f"/api/bots/{bot}/snapshots")["items"]:
                self.require(snapshot["id"] in self.after.snapshots, f"{snapshot['id']} of {bot} is listed and has no file")

    def check_packets(self):
        """Nothing twice: a bot's own numbers come once in each launch."""
        for bot in self.bots():
            seen, after = collections.Counter(), 0
            while page := self.fleet.get(f"/api/bots/{bot}/packets?after={after}&limit=500")["items"]:
                after = page[-1]["id"]
                seen.update((each["launch_id"], each["bot_sequence"]) for each in page if each["type"] != "gap" and each.get("bot_sequence"))
            twice = [each for each, count in seen.items() if count > 1 and not self.may_come_again(bot, *each)]
            self.require(not twice, f"{len(twice)} packets of {bot} came twice, such as {twice[:3]}")

    def may_come_again(self, bot, launch, number):
        """What a copied journal had not sent it sends once more (docs/decisions/0033)."""
        return False

    def check_messages(self):
        """No turn stays open of which nobody will hear any more."""
        def open_turns():
            return [(bot["id"], bot["phase"], entry["message_id"]) for bot in self.bots().values()
                    for entry in (self.fleet.call("GET", f"/api/bots/{bot['id']}/conversations/talk?limit=500", expect=False).json or {}).get("items", [])
                    if entry.get("state") == "delivered"]
        try:
            wait("turns to end", lambda: not open_turns(), 60)
        except Failure:
            self.require(False, f"turns that do not end: {open_turns()}")

    # And on it goes

    def recover(self):
        """An operator takes up what is newer where it lies; it must go on from what lies there."""
        names = {node.name: node for node in self.fleet.nodes}
        newest = {}
        for (node, bot), stray in self.strays().items():
            if stray["is_newer"]:
                newest.setdefault(bot, []).append(node)
        for bot, places in newest.items():
            node = max(places, key=lambda name: len(self.after.trees.get((name, bot), ())))
            answer = self.fleet.call("POST", f"/api/nodes/{names[node].id}/strays/{bot}/recover", {"force": False}, expect=False)
            if answer.status == 422 or answer.status == 409:
                answer = self.fleet.call("POST", f"/api/nodes/{names[node].id}/strays/{bot}/recover", {"force": True}, expect=False)
            if answer.status >= 300:
                self.require(False, f"{bot} cannot be recovered on {node}: {answer.status} {answer.body.decode()[:300]}")
                continue
            path = f"/api/deployments/{answer.json['id']}"
            end = wait(f"{bot} to be recovered", lambda: (found := self.fleet.get(path))["state"] not in ("running", "returning") and found, 180)
            self.require(end["state"] == "succeeded", f"{bot} was not recovered on {node}: {end}")

    def go_on(self):
        """Every bot that has its files starts and answers, and holds what it held."""
        self.recover()
        held = Census(self.fleet)
        names = {node.id: node.name for node in self.fleet.nodes if node.id}
        bots = [bot for bot in self.bots().values() if (names[bot["node_id"]], bot["id"]) in held.trees]
        for bot in bots:
            answer = self.fleet.call("POST", f"/api/bots/{bot['id']}/restart", expect=False)
            self.require(answer.status < 300, f"{bot['id']} cannot be started: {answer.status} {answer.body.decode()[:300]}")
            bot["wanted"] = answer.status < 300
        for bot in bots:
            if not bot["wanted"]:
                continue
            path = f"/api/bots/{bot['id']}"

            def settled():
                seen = self.fleet.get(path)
                return seen["phase"] == "ready" or (seen.get("start_refused") or {}).get("code") == "placement_epoch_too_old"
            try:
                wait("ready, or refused", settled, 60)
                if self.fleet.get(path)["phase"] != "ready":
                    # All nodes are here and none runs it: the operator's word, as docs/operations.md has it.
                    self.fleet.call("POST", f"{path}/start")
                wait("ready", lambda: self.fleet.get(path)["phase"] == "ready", 60)
            except Failure:
                seen = self.fleet.get(path)
                self.require(False, f"{bot['id']} does not start: {seen['phase']} ({seen.get('reason')}) {seen.get('start_refused')}")
                continue
            sent = self.fleet.call("POST", f"{path}/messages", {"text": "still there?", "conversation_id": "afterwards"}).json

            def answered():
                found = self.fleet.get(f"{path}/conversations/afterwards")["items"]
                return any(entry["role"] == "assistant" and entry["message_id"] == sent["message_id"] for entry in found)
            try:
                wait("an answer", answered, 60)
            except Failure:
                self.require(False, f"{bot['id']} does not answer")
        self.settled()
        last = Census(self.fleet)
        self.violations += [f"after all was started again: {each}" for each in last.lost(self.after, self.is_given_up)]
        self.after, seen = last, self.after
        self.check_record()
        self.after = seen

    def check(self):
        self.settled()
        self.after = Census(self.fleet)
        self.check_record()
        self.check_nothing_lost()
        self.check_packets()
        self.check_messages()


class Hub(Story):
    """The hub's backup is put back."""

    def run(self):
        self.begin()
        copy = self.fleet.folder / "backup.sqlite"
        self.fleet.back_up(copy)
        known = set(self.deeds.bots)
        self.live()
        self.fleet.stop_hub(at_once=self.random.random() < 0.5)
        # Nodes go on with what they were told last.
        time.sleep(1)
        self.before = Census(self.fleet)
        self.fleet.restore(copy)
        self.fleet.start_hub()
        self.deeds.all_back()
        for node in self.fleet.nodes:
            self.fleet.await_online(node)
        self.check()
        stopped = {each for each in self.before.running - self.after.running}
        self.require(not stopped, f"what ran does not run any more: {sorted(stopped)}")
        said = [each for each in self.fleet.items("/api/audit?limit=500") if each["action"] == "hub.restored"]
        self.require(len(said) == 1 and "the database was put back from a copy" in self.fleet.words(), f"the hub does not say that it was put back: {said}")
        for bot in self.bots().values():
            is_held = (self.name(bot["node_id"]), bot["id"]) in self.after.trees
            # One that had never run is not missed, and one whose removal had not been carried out is there.
            if bot["id"] in self.deeds.deleted and not is_held and bot.get("launch_id"):
                self.require(bot.get("reason_code") == "not_on_node", f"{bot['id']} was deleted after the copy and is shown as {bot['phase']} ({bot.get('reason_code')})")
        for (node, bot) in self.after.trees:
            if bot not in known and bot not in self.deeds.deleted:
                self.require("bot_name" not in self.strays().get((node, bot), {"bot_name": 1}), f"{bot} was made after the copy and is known")
        self.go_on()


class State(Story):
    """The state directory of a node is put back."""

    def run(self):
        self.begin()
        node = self.random.choice(self.fleet.nodes)
        self.deeds.all_back()
        self.copy(node)
        self.live()
        self.deeds.all_back()
        self.fleet.cut_power(node)
        self.before = Census(self.fleet)
        replaced = node.state.with_name("replaced")
        node.state.rename(replaced)
        copied(self.kept, node.state)
        # What the directory had that is gone now is not lost by us; what the copy brings is.
        for key in [key for key in self.before.trees if key[0] == node.name]:
            del self.before.trees[key]
        self.before.trees.update({(node.name, bot): entries for (where, bot), entries in Census(self.fleet).trees.items() if where == node.name})
        self.fleet.raise_node(node)
        for each in self.fleet.nodes:
            self.fleet.await_online(each)
        self.check()
        self.require("was put back from a copy" in self.fleet.read(node.log), f"{node.name} does not say that its journal was put back")
        self.go_on()

    def copy(self, node):
        """Copied while its power is off."""
        self.kept = self.fleet.folder / "copy"
        self.fleet.cut_power(node)
        copied(node.state, self.kept)
        self.waiting = waiting(self.kept)
        self.fleet.raise_node(node)
        self.fleet.await_online(node)

    def may_come_again(self, bot, launch, number):
        return (bot, launch, number) in self.waiting or (bot, None, number) in self.waiting


class Clone(State):
    """The disk of a node is copied to a second machine, which comes up beside the first one."""

    def run(self):
        self.begin()
        node = self.random.choice(self.fleet.nodes)
        self.deeds.all_back()
        self.copy(node)
        self.live()
        self.deeds.all_back()
        self.deeds.rest()
        machine = self.fleet.folder / "machine"
        machine.mkdir()
        (machine / "machine-id").write_text(f"{self.random.getrandbits(128):032x}\n")
        (machine / "boot-id").write_text("01234567-89ab-4def-8123-456789abcdef\n")
        twin = Node("twin", self.fleet.folder, machine)
        copied(self.kept, twin.state)
        self.fleet.nodes.append(twin)
        self.before = Census(self.fleet)
        self.fleet.raise_node(twin)
        quarantine = wait("the second machine to be turned away", lambda: self.fleet.get(f"/api/nodes/{node.id}").get("quarantine"), 60)
        self.require(quarantine["reason"], "the second machine was turned away for no reason")
        self.settled()
        now = Census(self.fleet)
        self.require(not [each for each in now.running if each[0] == "twin"], f"the clone runs bots: {sorted(now.running)}")
        self.require(self.before.running == now.running, f"what runs has changed: {sorted(self.before.running ^ now.running)}")
        # It is a clone, and gets an identity of its own.
        decided = self.fleet.call("POST", f"/api/nodes/{node.id}/quarantine", {"decision": "clone"}).json
        self.fleet.cut_power(twin)
        self.fleet.enroll(twin, "--again", code=find(decided, "code"))
        self.require(twin.id != node.id, "the clone has the identity of the node that it was copied from")
        self.fleet.raise_node(twin)
        for each in self.fleet.nodes:
            self.fleet.await_online(each)
        self.check()
        self.require(self.before.running == self.after.running, f"what runs has changed: {sorted(self.before.running ^ self.after.running)}")
        self.go_on()


def copied(old, new):
    """Sockets and all, which Python's own does not copy."""
    subprocess.run(["cp", "-a", "--", str(old), str(new)], check=True)


def waiting(state):
    """What a state directory has not told its hub: packets of its journal, and those of the logs that are not in it yet."""
    found = set()
    with tempfile.TemporaryDirectory() as folder:
        # Looking is writing, with a write-ahead log.
        for file in state.glob("journal*"):
            if file.is_file():
                shutil.copy2(file, folder)
        journal = sqlite3.connect(pathlib.Path(folder) / "journal.sqlite")
        found |= set(journal.execute("SELECT bot_id, launch_id, bot_sequence FROM packets"))
        cursors = dict(journal.execute("SELECT bot_id, log_offset FROM log_cursors"))
        journal.close()
    for file in (state / "bots-control").glob("*/logs/*"):
        bot, begin = file.parents[1].name, re.search(r"\d+", file.name)
        if begin:
            rest = file.read_bytes()[max(0, cursors.get(bot, 0) - int(begin.group())):]
            found |= {(bot, None, int(number)) for number in re.findall(rb'"seq":(\d+)', rest)}
    return found


def find(document, name):
    """The first member of this name, however deep."""
    for key, value in document.items():
        if key == name and isinstance(value, str):
            return value
        if isinstance(value, dict) and (found := find(value, name)):
            return found
    return None


STORIES = {"hub": Hub, "state": State, "clone": Clone}
