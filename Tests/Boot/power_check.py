"""The books of power.py: what was acknowledged before a cut, held against what is there after it."""

import collections
import json

# What a cut itself costs, and is told: the end of a launch that nobody had the time to keep.
TOLD = {"supervisor_lost"}
ENDED = ("answered", "failed", "interrupted")


class Ledger:
    def __init__(self):
        self.violations = []
        self.kept = {}
        self.seen = None
        self.last = collections.defaultdict(int)
        self.journal = None
        self.bots, self.configs, self.ticker = {}, {}, None
        self.dying, self.dead = set(), set()
        self.messages, self.tokens, self.files = {}, [], []
        self.started, self.node = set(), None
        self.log, self.launches = 0, set()
        self.lost = 0
        self.done = collections.Counter()

    def fail(self, text):
        self.violations.append(text)

    def require(self, condition, text):
        if not condition:
            self.fail(text)

    def plan(self):
        """What the next boot has to know."""
        # A few times over, so that what is there after one cut is there after the next as well.
        return {"verified": max(self.kept, default=0), "log": self.log, "tokens": self.tokens[-20:], "files": self.files[-40:]}

    def counts(self):
        return (f"{len(self.kept)} packets ({self.lost} launches cut off, told), {self.done['SENT']} messages, {self.done['LINES']} log lines, {self.done['BOT']} bots, "
                f"{self.done['DELETED']} deleted, {self.done['CONFIG']} configurations, {self.done['WROTE']} files, {self.done['MADE']} tokens, "
                f"{self.done['STARTED']} starts, {self.done['ENROLLED']} pairings, {self.done['ROTATED']} rotations")

    def take(self, boot, text, is_whole):
        """Takes in what one boot has told: first what was kept until then, then what it acknowledged itself."""
        facts = collections.defaultdict(list)
        for line in text.splitlines():
            word, _, rest = line.partition(" ")
            if word.isupper() and rest.startswith("{"):
                try:
                    facts[word].append(json.loads(rest))
                except ValueError:
                    pass  # the line that the cut went through
        was = len(self.violations)
        if facts["LOAD"]:
            self.check(facts, is_whole)
        for word in "STUCK", "BROKEN":
            for each in facts[word]:
                    self.fail(f"{word.lower()}: {each}")
        self.acknowledge(facts)
        self.violations[was:] = [f"boot {boot}: {each}" for each in self.violations[was:]]

    # After the boot

    def check(self, facts, is_whole):
        self.check_packets(facts["KEPT"], is_whole)
        for each in facts["LOG"]:
            self.fail(f"{each['where']} has line {each['comes']} of launch {each['launch']} where {each['expected']} should be")
        for each in facts["LINES"]:
            is_rest = each["where"] == "the rest of the log"
            for launch, first in each["first"].items():
                self.require(first == 1 or (is_rest and launch in self.launches), f"{each['where']} has launch {launch} from line {first} on")
            if not is_rest:
                late = set(each["first"]) - self.launches
                self.require(not late, f"who read the log by its offsets has nothing of the launches {sorted(late)}")
            self.launches |= set(each["first"])
            self.done["LINES"] = each["count"] if not is_rest else self.done["LINES"] + each["count"]
            self.log = each["next"]
        there = {each["id"]: each for each in facts["HAS"]}
        for bot, name in self.bots.items():
            if bot in self.dead:
                self.require(bot not in there, f"{name} was deleted and is there again")
            elif bot not in self.dying:
                self.require(bot in there, f"{name} was created and is gone")
        for bot, number in self.configs.items():
            if bot in there and bot not in self.dying:
                found = there[bot]["config"].get("quiet")
                # One that was under way may be there; an older one may not.
                self.require(isinstance(found, int) and found >= number, f"{self.bots[bot]} has the configuration {found}, {number} was acknowledged")
        for bot in self.started & set(there) - self.dying:
            self.require(there[bot]["code"] != "not_on_node", f"{self.bots[bot]} was started, and its node knows nothing of it")
        messages = collections.Counter(each["text"] for each in facts["MESSAGE"])
        twice = [text for text, count in messages.items() if count > 1]
        self.require(not twice, f"messages are there twice: {twice[:3]}")
        found = {each["id"]: each for each in facts["MESSAGE"]}
        missing = [text for message, text in self.messages.items() if found.get(message, {}).get("text") != text]
        self.require(not missing, f"{len(missing)} of {len(self.messages)} messages are missing, such as {missing[:3]}")
        for word, what in ("NOTOKEN", "token"), ("NOFILE", "path"):
            for each in facts[word]:
                self.fail(f"{what} {each[what]} was acknowledged: {each['why']}")
        self.messages = {}

    def check_packets(self, kept, is_whole):
        if is_whole:
            known, self.kept, self.last = self.kept, {}, collections.defaultdict(int)
            there = {each["id"] for each in kept}
            self.require(set(known) <= there, f"{len(set(known) - there)} packets that were there are gone")
        numbers = {packet["seq"] for packet in self.kept.values()}
        for packet in sorted(kept, key=lambda each: each["id"]):
            self.require(self.journal in (None, packet["journal"]), f"the agent's journal is another one: {packet}")
            self.journal = packet["journal"]
            if packet["gap"]:
                self.require(packet["gap"].get("reason") in TOLD, f"a gap: {packet}")
                self.lost += not is_whole
            expected = max(numbers, default=0) + 1
            self.require(packet["seq"] == expected, f"packet {packet['seq']} comes where {expected} should: {packet}")
            numbers.add(packet["seq"])
            if packet["type"] == "tick":
                launch = packet["launch"]
                self.require(packet["n"] == self.last[launch] + 1, f"tick {packet['n']} of launch {launch} comes after {self.last[launch]}")
                self.last[launch] = packet["n"]
            self.kept[packet["id"]] = packet
        if self.seen:
            found = self.kept.get(self.seen["id"])
            same = found and all(found[key] == self.seen[key] for key in ("journal", "seq", "type", "launch", "n"))
            self.require(same, f"the hub had shown {self.seen}, and has {found}; its last is {max(self.kept, default=0)}")
        self.seen = None

    # Before the cut

    def acknowledge(self, facts):
        for word, found in facts.items():
            if word not in ("KEPT", "LINES"):
                self.done[word] += len(found)
        for each in facts["SEEN"]:
            self.seen = each
        for each in facts["BOT"]:
            self.bots[each["id"]] = each["name"]
        for each in facts["CONFIG"]:
            self.configs[each["id"]] = each["number"]
        self.dying |= {each["id"] for each in facts["DELETING"]}
        self.dead |= {each["id"] for each in facts["DELETED"]}
        self.started |= {each["id"] for each in facts["STARTED"]}
        self.messages.update({each["id"]: each["text"] for each in facts["SENT"]})
        self.tokens += [each["token"] for each in facts["MADE"]]
        self.files += [each["path"] for each in facts["WROTE"]]
        for each in facts["ENROLLED"]:
            self.require(self.node in (None, each["node"]), f"the node was {self.node} and is {each['node']}")
            self.node = each["node"]
