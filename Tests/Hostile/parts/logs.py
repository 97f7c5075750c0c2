"""A bot that writes its log as fast as it can, whole lines or one line without an end.

What must hold: the node and the hub keep as much of it as they say, the log still ends with its newest lines, and another bot
of the same node is answered meanwhile.
"""

import json
import shlex
import sys
import time

from attack import Part, judge
from stage import Stage, wait

MEBIBYTE = 1 << 20
SEGMENT, SEGMENTS = 2 * MEBIBYTE, 2
KEPT_BY_HUB = 1 * MEBIBYTE
# A line may be as long, and the segment that takes it is closed only then.
LONGEST_LINE = 1 * MEBIBYTE

# Numbers its lines, so that one can see which are the newest.
SHOUTER = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
number = 0
while True:
    sys.stdout.write("".join(f"{n:012d} shout {'x' * 100}\\n" for n in range(number, number + 1000)))
    number += 1000
"""

# Never ends its line.
DRONE = """
import os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while True:
    os.write(1, b"x" * 65536)
"""


class Logs(Stage):
    def __init__(self, programs, folder, environment):
        super().__init__(programs, folder)
        self.environment |= environment | {"HUB_KEEP_LOGS": str(KEPT_BY_HUB)}
        self.bots = 0

    def begin(self):
        profiles = {}
        for name, program in (("shouter", SHOUTER), ("drone", DRONE)):
            script = self.folder / f"{name}.py"
            script.write_text(program)
            profiles[name] = {"command": f"{shlex.quote(sys.executable)} {script}", "packets": False, "settle_time": "1s",
                              "log": {"segment_size": SEGMENT, "segments": SEGMENTS}}
        self.environment["EDGE_PROFILES"] = json.dumps(profiles)
        self.raise_hub()
        self.admin = self.operator("the-admin", "admin")["token"]
        self.pair(self.admin)
        self.quiet = self.make_bot(self.admin, "quiet")

    def loud(self, profile):
        self.bots += 1
        body = {"name": f"{profile}-{self.bots}", "node_id": self.node, "runtime_profile": profile}
        bot = self.send("POST", "/api/bots", token=self.admin, body=body).json["id"]
        self.send("POST", f"/api/bots/{bot}/start", token=self.admin)
        wait(f"{profile} to be ready", lambda: self.bot(bot)["phase"] == "ready")
        return bot

    def bot(self, bot):
        return self.send("GET", f"/api/bots/{bot}", token=self.admin).json

    def end(self, bot):
        self.send("POST", f"/api/bots/{bot}/stop", token=self.admin)
        wait("the loud bot to have stopped", lambda: self.bot(bot)["phase"] == "stopped")

    def answered(self):
        """Seconds until the quiet bot has answered a message."""
        began = time.monotonic()
        sent = self.send("POST", f"/api/bots/{self.quiet}/messages", token=self.admin, body={"text": "there?"}).json

        def ended():
            path = f"/api/bots/{self.quiet}/conversations/{sent['conversation_id']}"
            entries = self.send("GET", path, token=self.admin).json["items"]
            return any(entry.get("message_id") == sent["message_id"] and entry["state"] == "answered" for entry in entries)

        wait("the quiet bot's answer", ended)
        return time.monotonic() - began

    @staticmethod
    def taken(folder):
        """Bytes and names in a folder of logs."""
        sizes = {}
        for file in folder.rglob("*.log"):
            try:
                sizes[file.name] = file.stat().st_size
            except FileNotFoundError:
                pass  # rotated away just now
        return sum(sizes.values()), sizes

    def most(self, folder, seconds):
        """The most that a folder takes while so many seconds pass, and whether its files were changed for others meanwhile."""
        most, names, until = 0, set(), time.monotonic() + seconds
        while time.monotonic() < until:
            size, files = self.taken(folder)
            most, names = max(most, size), names | set(files)
            time.sleep(0.05)
        return most, len(names)

    def resident(self, pid):
        return int(self.read(f"/proc/{pid}/status").split("VmRSS:")[1].split()[0]) / 1024

    def supervisor(self, bot):
        """The process that reads the bot's output."""
        return json.loads(self.read(next((self.folder / "agent").rglob(f"{bot}/**/supervisor.json"))))["supervisor"]["pid"]


part = Part("logs", Logs)


@part.attack("a bot that writes lines without a pause, on its node's disk", "log-segments")
def lines_on_the_node(stage):
    bot = stage.loud("shouter")
    try:
        most, files = stage.most(stage.folder / "agent" / "bots-control" / bot, 4)
        last = stage.send("GET", f"/api/bots/{bot}/logs?tail=1", token=stage.admin).json
    finally:
        stage.end(bot)
    bound = SEGMENTS * (SEGMENT + LONGEST_LINE)
    newest = max((int(line["text"].split()[0]) for line in last["lines"] if "shout" in line["text"]), default=0)
    return judge(most <= bound and files > SEGMENTS and newest > 10_000,
                 f"{most / MEBIBYTE:.1f} MiB at most in {files} files, one after the other; {bound / MEBIBYTE:.0f} are allowed; "
                 f"the log ends with line {newest}")


@part.attack("a bot that writes lines without a pause, copied to the hub", "log-copies")
def lines_on_the_hub(stage):
    bot = stage.loud("shouter")
    try:
        wait("the hub to copy the log", lambda: (stage.data / "logs" / bot).exists())
        before = stage.resident(stage.hub.pid)
        most, files = stage.most(stage.data / "logs" / bot, 6)
        grown = stage.resident(stage.hub.pid) - before
    finally:
        stage.end(bot)
    # A segment more is there while the newest is begun; a frame is the most by which a segment outgrows its size.
    bound = KEPT_BY_HUB + 2 * KEPT_BY_HUB // 8 + LONGEST_LINE
    return judge(most <= bound and files > 4 and grown <= 48,
                 f"{most / MEBIBYTE:.1f} MiB at most in {files} files; {bound / MEBIBYTE:.2f} are allowed; hub {grown:+.0f} MiB")


@part.attack("a bot that writes one line and never ends it")
def endless_line(stage):
    bot = stage.loud("drone")
    try:
        most, _ = stage.most(stage.folder / "agent" / "bots-control" / bot, 4)
        held = stage.resident(stage.supervisor(bot))
        lines = stage.send("GET", f"/api/bots/{bot}/logs?tail=2", token=stage.admin)
    finally:
        stage.end(bot)
    bound = SEGMENTS * (SEGMENT + LONGEST_LINE)
    return judge(most <= bound and held <= 40 and lines.status == 200,
                 f"{most / MEBIBYTE:.1f} MiB of log at most, its supervisor holds {held:.0f} MiB, the log is answered with {lines.status}")


@part.attack("another bot of the same node is spoken to, beside two that write without a pause")
def neighbour(stage):
    idle = sorted(stage.answered() for _ in range(10))
    loud = [stage.loud("shouter"), stage.loud("drone")]
    try:
        busy = sorted(stage.answered() for _ in range(10))
    finally:
        for bot in loud:
            stage.end(bot)
    return judge(busy[-1] < 5, f"answered after {idle[5]:.2f} s idle, {busy[5]:.2f} s beside them, {busy[-1]:.2f} at most")
