"""How many monitor packets a second of one bot come into the journal, and how much of the agent's time is SQLite's."""

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
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5) as journal:
        return journal.execute("SELECT coalesce(max(last_sequence), 0) FROM log_cursors").fetchone()[0]


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
            after = memory_kib(stage.agent.pid)["Rss"]
            found = {}
            if perf:
                perf.send_signal(signal.SIGINT)
                perf.wait()
                found = shares(data)
            stage.hub.send_signal(signal.SIGCONT)
    return {"packets": PACKETS, "seconds": seconds, "packets_per_s": PACKETS / seconds, "agent_rss_kib_before": before,
            "agent_rss_kib_after": after,
            "agent_time_percent": dict(sorted(found.items(), key=lambda item: -item[1])[:6])}


def show(result):
    print(f"{result['packets']} packets of one bot into the journal in {result['seconds']:.2f} s: "
          f"{result['packets_per_s']:.0f} a second; agent RSS {result['agent_rss_kib_before']} KiB before, "
          f"{result['agent_rss_kib_after']} KiB after")
    for name, share in result["agent_time_percent"].items():
        print(f"  {share:5.1f} % of the agent's processor time in {name}")
