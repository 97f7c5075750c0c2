"""How many monitor packets a second of one bot come into the journal, and how much of the agent's time is SQLite's."""

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

from stage import Stage, memory_kib, wait_for

PACKETS = int(os.environ.get("PACKETS", "200000"))
WRITER = pathlib.Path(__file__).with_name("writer.py")


def journaled(path):
    """The last packet's own number, which comes whatever is missing before it."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5) as journal:
        # By the primary key: a look must not cost more than what it looks at.
        last = journal.execute("SELECT bot_sequence FROM packets WHERE bot_id = (SELECT bot_id FROM log_cursors LIMIT 1) "
                               "ORDER BY sequence DESC LIMIT 1").fetchone()
    return last[0] if last else 0


def account(path):
    """How many packets are in the journal, and how many it says are missing."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5) as journal:
        stored = journal.execute("SELECT count(*) FROM packets WHERE gap IS NULL").fetchone()[0]
        gaps = [json.loads(row[0]) for row in journal.execute("SELECT json FROM packets WHERE gap IS NOT NULL")]
    told = sum(gap["to_seq"] - gap["from_seq"] + 1 for gap in gaps if gap["reason"] == "bot_sequence")
    return stored, told, sorted({gap["reason"] for gap in gaps})


def shares(data):
    """Of the agent's samples, by the library they fell into."""
    report = subprocess.run(["perf", "report", "-i", str(data), "--stdio", "--sort", "dso", "-g", "none"],
                            capture_output=True, text=True, check=False).stdout
    return {name: float(share) for share, name in re.findall(r"^\s*([\d.]+)%\s+(\S+)\s*$", report, re.M)}


def run():
    with tempfile.TemporaryDirectory(prefix="bench-packets-", dir=os.environ.get("TMPDIR")) as folder:
        result = pathlib.Path(folder) / "result"
        hold = pathlib.Path(f"{result}.hold")
        hold.touch()
        command = shlex.join([sys.executable, str(WRITER), str(result), "packets", str(PACKETS)])
        with Stage(command) as stage:
            stage.start_bot("writer")
            # Nothing is acknowledged meanwhile: what is measured is the way into the journal.
            stage.hub.send_signal(signal.SIGSTOP)
            before = memory_kib(stage.agent.pid)["Rss"]
            perf = None
            data = pathlib.Path(folder) / "perf.data"
            if shutil.which("perf"):
                perf = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "499", "-o", str(data), "-p",
                                         str(stage.agent.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(1)
            hold.unlink()
            begin = time.monotonic()
            journal = stage.state / "journal.sqlite"
            wait_for("last packet in the journal", lambda: journaled(journal) >= PACKETS, 600)
            seconds = time.monotonic() - begin
            stored, told, reasons = account(journal)
            after = memory_kib(stage.agent.pid)["Rss"]
            found = {}
            if perf:
                perf.send_signal(signal.SIGINT)
                perf.wait()
                found = shares(data)
            stage.hub.send_signal(signal.SIGCONT)
    if stored + told != PACKETS:
        raise SystemExit(f"{PACKETS} packets written, {stored} in the journal, {told} told to be missing ({reasons})")
    return {"packets": PACKETS, "journaled": stored, "told_missing": told, "gaps": reasons, "seconds": seconds,
            "packets_per_s": stored / seconds, "agent_rss_kib_before": before,
            "agent_rss_kib_after": after,
            "agent_time_percent": dict(sorted(found.items(), key=lambda item: -item[1])[:6])}


def show(result):
    if result["told_missing"]:
        # More at once than the bot's log keeps for an agent that is behind.
        print(f"{result['packets']} packets written, {result['told_missing']} of them rotated away before they were read, "
              f"each told by gaps ({', '.join(result['gaps'])})")
    print(f"{result['journaled']} packets of one bot into the journal in {result['seconds']:.2f} s: "
          f"{result['packets_per_s']:.0f} a second; agent RSS {result['agent_rss_kib_before']} KiB before, "
          f"{result['agent_rss_kib_after']} KiB after")
    for name, share in result["agent_time_percent"].items():
        print(f"  {share:5.1f} % of the agent's processor time in {name}")
