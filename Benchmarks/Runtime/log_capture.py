"""How fast a bot can write lines of 200 bytes: beside `cat > file`, and systemd-cat where a journal runs."""

import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

from stage import Stage, memory_kib, wait_for

MEGABYTES = int(os.environ.get("CAPTURE_MB", "2000"))
WRITER = pathlib.Path(__file__).with_name("writer.py")


def read(path):
    result = json.loads(path.read_text())
    return result["bytes"] / result["seconds"] / 1e6


def beside(name, command):
    """The writer's output into another program; nil where it does not run."""
    with tempfile.TemporaryDirectory(prefix="bench-capture-", dir=os.environ.get("TMPDIR")) as folder:
        result = pathlib.Path(folder) / "result"
        writer = shlex.join([sys.executable, str(WRITER), str(result), "lines", str(MEGABYTES * 1_000_000)])
        done = subprocess.run(f"LINGER=0 {writer} | {command}", shell=True, cwd=folder, check=False,
                              stderr=subprocess.DEVNULL)
        return {"capture": name, "mb_per_s": read(result)} if done.returncode == 0 and result.exists() else None


def ours(is_followed):
    with tempfile.TemporaryDirectory(prefix="bench-capture-", dir=os.environ.get("TMPDIR")) as folder:
        result = pathlib.Path(folder) / "result"
        hold = pathlib.Path(f"{result}.hold")
        hold.touch()
        command = shlex.join([sys.executable, str(WRITER), str(result), "lines", str(MEGABYTES * 1_000_000)])
        with Stage(command) as stage:
            bot = stage.start_bot("writer")
            if not is_followed:
                stage.agent.send_signal(signal.SIGSTOP)
            supervisor = stage.supervisor(bot)
            before = memory_kib(supervisor)["Rss"]
            hold.unlink()
            wait_for("end of the writing", result.exists, 600)
            after = memory_kib(supervisor)["Rss"]
            stage.agent.send_signal(signal.SIGCONT)
            name = "supervisor, agent reads along" if is_followed else "supervisor, agent stopped"
            return {"capture": name, "mb_per_s": read(result), "supervisor_rss_kib_before": before,
                    "supervisor_rss_kib_after": after}


def run():
    rows = [beside("cat > file", "cat > file")]
    if shutil.which("systemd-cat") and pathlib.Path("/run/systemd/journal/stdout").exists():
        rows.append(beside("systemd-cat", "systemd-cat"))
    rows += [ours(False), ours(True)]
    return {"megabytes": MEGABYTES, "line_bytes": 200, "rows": [row for row in rows if row]}


def show(result):
    print(f"| capture of {result['megabytes']} MB in lines of {result['line_bytes']} bytes | MB/s | RSS KiB before, after |")
    print("|---|--:|--:|")
    for row in result["rows"]:
        memory = f"{row['supervisor_rss_kib_before']}, {row['supervisor_rss_kib_after']}" if len(row) > 2 else ""
        print(f"| {row['capture']} | {row['mb_per_s']:.0f} | {memory} |")
