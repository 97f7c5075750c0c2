"""The reckoning of kill-test.py: what the bot wrote down about itself against what the hub says."""

import collections
import json
import re
import time

import demo

LINE = re.compile(r"line (\d+) of (\S+), ")
# Ends of a turn that are no answer, each of which must come with a reason.
UNANSWERED = ("failed", "interrupted")


class Ledger:
    """The messages the hub has accepted."""

    def __init__(self):
        self.messages = {}
        self.conversations = []
        # The last one whose acceptance was never learned; it may exist or not.
        self.given_up = None

    def accepted(self, number, message, conversation):
        self.messages[message] = number
        if conversation not in self.conversations:
            self.conversations.append(conversation)


class Checks:
    """What must hold in the end; mixed into the run."""

    def settle(self):
        """The bot falls silent, everything arrives, and is counted."""
        (self.folder / "quiet").touch()
        self.wait("the bot to fall silent", 60, lambda: (self.folder / "silent").exists())
        launches = self.launches()
        self.wait("every turn to end", 180, self.no_open_message)
        packets = self.wait("the last packet", 120, lambda: self.all_packets(launches))
        lines = self.wait("the last line", 60, lambda: self.all_lines(launches))
        self.check_packets(packets, launches)
        self.check_lines(lines, launches)
        self.check_messages(packets)
        self.check_exits()

    def records(self, name):
        """What the bot wrote down."""
        text = demo.read(self.folder / name) or ""
        return [json.loads(line) for line in text.splitlines()]

    def launches(self):
        """Every launch with the first and last number it used, and whether it was cut off."""
        told = {record["launch"]: record for record in self.records("launches.jsonl")}
        starts = self.records("starts.jsonl")
        used = int((self.folder / "number").read_text())
        found = []
        for index, start in enumerate(starts):
            last = starts[index + 1]["first"] - 1 if index + 1 < len(starts) else used
            found.append({"launch": start["launch"], "first": start["first"], "last": last,
                          "is_cut": start["launch"] not in told})
        return found

    # What the hub has

    def all_packets(self, launches):
        """Every packet, once the last one of the last launch is there."""
        found, after = [], 0
        while page := self.api.call("GET", f"/api/bots/{self.bot}/packets?after={after}&limit=500")["items"]:
            found += page
            after = page[-1]["id"]
        numbers = [packet["json"]["n"] for packet in found if packet["type"] == "tick"]
        return found if numbers and numbers[-1] >= launches[-1]["last"] else None

    def all_lines(self, launches):
        """Every line of the log, once the last one of the last launch is there."""
        found, offset = [], 0
        while True:
            page = self.api.call("GET", f"/api/bots/{self.bot}/logs?offset={offset}")
            found += page["lines"]
            if page["next_offset"] == offset or not page["lines"]:
                break
            offset = page["next_offset"]
        numbers = [int(match[1]) for line in found if (match := LINE.match(line["text"]))]
        return found if numbers and numbers[-1] >= launches[-1]["last"] else None

    def conversation_entries(self):
        """Every message of every conversation."""
        for conversation in list(self.ledger.conversations):
            cursor = ""
            while True:
                page = self.api.call("GET", f"/api/bots/{self.bot}/conversations/{conversation}?limit=100{cursor}")
                yield from (entry for entry in page["items"] if entry["role"] == "user")
                if not page.get("next_cursor"):
                    break
                cursor = f"&cursor={page['next_cursor']}"

    def no_open_message(self):
        """Whether no turn is open any more."""
        is_open = [entry for entry in self.conversation_entries() if entry["state"] in ("queued", "delivered")]
        if is_open:
            time.sleep(0.3)
        self.still_open = is_open
        return not is_open

    # What must hold

    def require(self, condition, text):
        if not condition:
            raise demo.Failure(text)

    def once_and_in_order(self, what, numbers, launches):
        """Every number once; the only ones missing are the last of a launch that was cut off."""
        doubled = [number for number, count in collections.Counter(numbers).items() if count > 1]
        self.require(not doubled, f"{what}: {len(doubled)} came twice, such as {doubled[:5]}")
        self.require(numbers == sorted(numbers), f"{what}: not in order")
        there, lost = set(numbers), {}
        for launch in launches:
            missing = [number for number in range(launch["first"], launch["last"] + 1) if number not in there]
            if not missing:
                continue
            self.require(launch["is_cut"], f"{what}: {len(missing)} are missing, such as {missing[:5]}, of launch {launch}")
            is_tail = missing == list(range(missing[0], launch["last"] + 1))
            self.require(is_tail, f"{what}: {missing[:5]} are missing in the middle of launch {launch}")
            lost[launch["launch"]] = len(missing)
        unknown = there - {number for launch in launches for number in range(launch["first"], launch["last"] + 1)}
        self.require(not unknown, f"{what}: {sorted(unknown)[:5]} were never written")
        return lost

    def check_packets(self, packets, launches):
        ticks = [packet["json"]["n"] for packet in packets if packet["type"] == "tick"]
        lost = self.once_and_in_order("packets", ticks, launches)
        by_journal = collections.defaultdict(list)
        for packet in packets:
            by_journal[packet["journal_id"]].append(packet["sequence"])
        self.require(len(by_journal) == 1, f"the journal was made anew: {list(by_journal)}")
        for sequences in by_journal.values():
            self.require(sequences == list(range(1, len(sequences) + 1)), "the agent's numbers have holes")
        gaps = [packet for packet in packets if packet["type"] == "gap"]
        told = {packet["launch_id"] for packet in gaps if (packet.get("gap") or {}).get("reason") == "supervisor_lost"}
        expected = {loss["launch"] for loss in self.losses}
        self.require(told == expected, f"gaps told for the launches {sorted(told)}, not {sorted(expected)}")
        self.require(len(gaps) == len(told), f"gaps nobody can explain: {gaps}")
        cut = sum(1 for launch in launches if launch["is_cut"])
        self.require(cut == len(self.losses), f"{cut} launches were cut off, {len(self.losses)} supervisors were killed")
        print(f"kill-test: packets: {launches[-1]['last']} emitted, {len(ticks)} stored, once and in order; missing "
              f"{sum(lost.values())}, all at the end of {len(lost)} of the {cut} launches whose supervisor was killed, "
              f"each told by a gap; {len(packets)} packets of all types")

    def check_lines(self, lines, launches):
        numbers = [int(match[1]) for line in lines if (match := LINE.match(line["text"]))]
        lost = self.once_and_in_order("log lines", numbers, launches)
        offsets = [line["offset"] for line in lines]
        self.require(offsets == sorted(set(offsets)), "offsets of the log do not grow")
        print(f"kill-test: log lines: {launches[-1]['last']} written, {len(numbers)} readable, once and in order; missing "
              f"{sum(lost.values())}, all at the end of {len(lost)} of the launches whose supervisor was killed")

    def check_messages(self, packets):
        entries = list(self.conversation_entries())
        by_text = collections.Counter(entry["text"] for entry in entries)
        doubled = [text for text, count in by_text.items() if count > 1]
        self.require(not doubled, f"{len(doubled)} messages were accepted twice, such as {doubled[:3]}")
        states = {entry["message_id"]: entry for entry in entries}
        missing = [number for message, number in self.ledger.messages.items() if message not in states]
        self.require(not missing, f"the hub has forgotten accepted messages: {missing[:5]}")
        extra = [entry["text"] for message, entry in states.items() if message not in self.ledger.messages]
        allowed = {f"question {self.ledger.given_up}"}
        self.require(set(extra) <= allowed, f"messages nobody sent: {extra[:5]}")
        taken = collections.Counter(record["message_id"] for record in self.records("taken.jsonl"))
        twice = [message for message, count in taken.items() if count > 1]
        self.require(not twice, f"the bot was given {len(twice)} messages twice: {twice[:5]}")
        answers = collections.Counter(
            packet["message_id"] for packet in packets if packet["type"] == "assistant_message")
        outcome = collections.Counter()
        for message, entry in states.items():
            state, reason, count = entry["state"], entry.get("reason"), answers[message]
            if state == "answered":
                self.require(count == 1, f"{entry['text']} is answered, with {count} answers")
            else:
                self.require(state in UNANSWERED and reason, f"{entry['text']} is {state} for no reason")
                self.require(count == 0, f"{entry['text']} is {state} ({reason}) and has an answer")
            outcome[state] += 1
        self.outcome = dict(outcome)
        reasons = collections.Counter(
            entry.get("reason") for entry in states.values() if entry["state"] in UNANSWERED)
        print(f"kill-test: messages: {len(states)} accepted, {len(taken)} reached a bot, each once; "
              + ", ".join(f"{count} {state}" for state, count in sorted(outcome.items())))
        for reason, count in reasons.most_common():
            print(f"kill-test:   {count} × {reason}")

    def check_exits(self):
        wrong = [exit for exit in self.exits if exit[0] != exit[1] or exit[2] != 0]
        self.require(not wrong, f"wrong exit statuses: {wrong}")
        # How the bot itself ended nobody knows: neither a status of its own nor a clean end may be claimed.
        claimed = [loss for loss in self.losses if not loss["told"]["exit"]["lost"]]
        self.require(not claimed, f"an exit is claimed that nobody saw: {claimed[:3]}")
        last = self.post(f"/api/bots/{self.bot}/stop", "the-end", {})
        self.require(last, "the bot could not be stopped")
        status = self.wait("the bot to stop", 60, lambda: (found := self.status())["phase"] == "stopped" and found)
        end = status["last_exit"]
        self.require(end["requested"] and end["code"] == 0 and end["signal"] == 0, f"the last exit is wrong: {end}")
        open_commands = [command for command in self.api.call("GET", "/api/commands?limit=200")["items"]
                         if command["state"] in ("queued", "delivered", "running")]
        self.require(not open_commands, f"commands that never ended: {open_commands[:3]}")
        print(f"kill-test: exits: {len(self.exits)} of a bot whose agent was dead, {len(self.losses)} of a killed "
              f"supervisor, 1 asked for; all told as they were, no bot lived on unseen")
