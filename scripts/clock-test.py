#!/usr/bin/env python3
"""Sets the clock of a real hub wrong by 400 days and right again, while a node with a bot is connected and a message waits.

usage: clock-test.py [--programs DIR]

The hub sees another wall clock by libfaketime (Debian: faketime); its monotonic clocks and everybody else's clock go on. Prints
what is wrong and ends with 1 if anything is.
"""

import argparse
import glob
import json
import pathlib
import sqlite3
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "Tests" / "API"))

from stage import Stage, wait  # noqa: E402

TRIAL = 4
DAY = 86_400


class SetStage(Stage):
    """A hub whose wall clock is set by a file."""

    def __init__(self, programs, folder, library):
        super().__init__(programs, folder)
        self.offset = folder / "offset"
        self.set(0)
        self.environment |= {
            "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(self.offset), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "HUB_TEST_CLOCK_TRIAL_MS": str(TRIAL * 1000),
            "HUB_RETENTION_INTERVAL": "1s",
        }

    # Through a shell that has the library already: the first program that loads it finds no arguments.
    SHELL = ["/bin/sh", "-c", 'exec "$@"', "sh"]

    def start(self, arguments, log, **more):
        if arguments[0] == self.agent_program:
            more["LD_PRELOAD"] = ""
        return super().start(self.SHELL + arguments, log, **more)

    def run(self, *arguments):
        return super().run(*self.SHELL, *arguments)

    def set(self, days):
        self.offset.write_text(f"{days * DAY:+d}s\n")

    def rows(self, sql, *arguments):
        database = sqlite3.connect(f"file:{self.data}/hub.sqlite?mode=ro", uri=True, timeout=10)
        try:
            return database.execute(sql, arguments).fetchall()
        finally:
            database.close()

    def lines(self, text):
        return (self.read(self.logs[0]) or "").count(text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / ".build" / "debug")
    options = parser.parse_args()
    libraries = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not libraries:
        sys.exit("clock-test: libfaketime is not installed (Debian: apt-get install faketime)")
    stage = SetStage(options.programs.resolve(), pathlib.Path(tempfile.mkdtemp(prefix="clock-test-")), libraries[0])
    wrong = []

    def check(when, what, is_right):
        print(f"clock-test: {when}: {what}: {'ok' if is_right else 'WRONG'}", flush=True)
        if not is_right:
            wrong.append(f"{when}: {what}")

    def followed(times):
        """Whether the hub has followed the clock so many times; one that never says so gets as long."""
        deadline = time.monotonic() + 10 * TRIAL
        while time.monotonic() < deadline:
            if stage.lines("the hub has set its time") >= times:
                return
            time.sleep(0.1)

    try:
        stage.raise_hub()
        admin = stage.operator("the-admin", "admin")["token"]
        stage.pair(admin)
        bot = stage.make_bot(admin)
        away = stage.send("POST", "/api/nodes", token=admin, body={"name": "away"}).json["id"]
        waiting = stage.send("POST", "/api/bots", token=admin, body={"name": "far", "node_id": away}).json["id"]
        sent = stage.send("POST", f"/api/bots/{waiting}/messages", token=admin, body={"text": "hello"}).json
        stage.send("POST", f"/api/bots/{bot}/messages", token=admin, body={"text": "hello"})
        wait("an answer", lambda: stage.rows("SELECT 1 FROM messages WHERE state = 'answered'"))
        wait("figures of the node", lambda: stage.rows("SELECT 1 FROM resource_samples"))
        kept = [stage.rows(f"SELECT count(*) FROM {table}")[0][0] for table in ("packets", "messages", "audit")]

        def look(when):
            command = stage.send("GET", f"/api/commands/{sent['command_id']}", token=admin)
            check(when, "the token is good", command.status == 200)
            check(when, "the message that waits is still queued", (command.json or {}).get("state") == "queued")
            now = [stage.rows(f"SELECT count(*) FROM {table}")[0][0] for table in ("packets", "messages", "audit")]
            check(when, "nothing was deleted", all(new >= old for new, old in zip(now, kept)))
            nodes = stage.send("GET", "/api/nodes?health=online", token=admin).json
            check(when, "the node is online", len((nodes or {}).get("items", [])) == 1)

        look("before")
        stage.set(400)
        time.sleep(TRIAL / 2)
        look("400 days ahead, not followed yet")
        followed(1)
        time.sleep(3)
        look("400 days ahead")
        # Figures of what the hub takes for the future are written down.
        time.sleep(12)
        # While it is down, so that it goes on from what it has written down.
        stage.hub.kill()
        stage.hub.wait()
        (stage.data / "hub.address").unlink()
        stage.set(0)
        stage.raise_hub()
        wait("the node", lambda: stage.send("GET", "/api/nodes?health=online", token=admin).json["items"])
        look("right again, and killed and started again")
        followed(2)
        time.sleep(3)
        look("right again")
        now = time.time() * 1000
        future = stage.rows("SELECT count(*) FROM resource_samples WHERE at > ?", now + 60_000)[0][0]
        check("right again", f"no figures are left from the future ({future})", future == 0)
        expiry = stage.rows("SELECT expires_at FROM commands WHERE id = ?", sent["command_id"])[0][0]
        hours = (expiry - now) / 3_600_000
        check("right again", f"the message has its day ({hours:.2f} h left)", 23.5 < hours <= 24)
        steps = stage.rows("SELECT detail FROM audit WHERE action = 'hub.clock_set'")
        check("right again", f"both steps are in the audit log ({json.dumps(steps)})", len(steps) == 2)
        stage.set(-700)
        followed(3)
        stage.set(0)
        followed(4)
        time.sleep(3)
        look("700 days back, and right again")
    except Exception:
        print("\n".join((stage.read(stage.logs[0]) or "").splitlines()[-5:]), file=sys.stderr)
        raise
        if wrong:
            said = [line for line in (stage.read(stage.logs[0]) or "").splitlines() if "clock" in line or "time:" in line]
            print("\n".join(line[:300] for line in said[-20:]), file=sys.stderr)
    finally:
        stage.strike()
    print(f"clock-test: {len(wrong)} wrong", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
