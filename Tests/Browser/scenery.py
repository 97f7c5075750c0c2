"""What a hub has that has been in use for a while: bots on the simulated nodes, labels, and an hour of figures. It is put
into the database as the hub would have, because nobody waits an hour for a picture."""

import contextlib
import math
import random
import sqlite3
import time

STARTING, READY, BACKOFF = 2, 3, 5
BOTS = [("clinic-front-desk", "reception", READY, ""), ("clinic-archive", "records", READY, ""), ("van-router", "charger", READY, ""),
        ("greenhouse-pi", "gardener", READY, ""), ("hangar-2-gate", "gatekeeper", READY, ""), ("lab-bench-1", "sampler", READY, ""),
        ("lab-bench-1", "plotter", READY, ""), ("lakehouse-mini", "caretaker", BACKOFF, "It ended with exit code 1 four times; it is started again in 40 s."),
        ("office-nas", "librarian", READY, ""), ("pier-9-sensor", "tide-watch", READY, ""), ("shop-window", "greeter", READY, ""),
        ("studio-render", "render-queue", READY, "")]
LABELS = {"clinic": '{"site":"clinic"}', "lab": '{"site":"lab","gpu":"rtx4070"}', "attic": '{"site":"home"}', "studio": '{"gpu":"a4000"}'}


def number(field, value):
    return bytes([field << 3]) + varint(value)


def text(field, value):
    return bytes([field << 3 | 2]) + varint(len(value.encode())) + value.encode()


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def furnish(hub):
    """Bots and labels."""
    now = int(time.time() * 1000)
    with opened(hub) as database:
        nodes = dict(database.execute("SELECT name, id FROM nodes"))
        for index, (node, name, phase, reason) in enumerate(BOTS):
            if node not in nodes:
                continue
            bot = f"bot_{now:010x}{index:016x}"
            since = now - 3600_000 * (3 + index * 7 % 50)
            status = text(1, bot) + number(2, phase) + (text(3, reason) if reason else b"") + number(4, since) + number(7, 1)
            database.execute("INSERT INTO bots (id, name, node_id, runtime_profile, desired_state, config, placement_epoch, created_at, status) VALUES (?, ?, ?, 'default', 'running', '{}', 1, ?, ?)",
                             (bot, name, nodes[node], since, status))
        for prefix, labels in LABELS.items():
            database.execute("UPDATE nodes SET labels = ? WHERE name LIKE ?", (labels, f"{prefix}%"))


def remember(hub, node, hours=1, step=15):
    """Figures of the last hour: a machine that is used now and then."""
    dice = random.Random(7)
    end = int(time.time() * 1000) - step * 1000
    count = hours * 3600 // step
    rows = []
    for index in range(count):
        share = index / count
        busy = 62 if .18 < share < .3 or .62 < share < .7 or share > .95 else 14
        cpu = max(1.0, min(100.0, busy + 9 * math.sin(index / 5) + dice.uniform(-6, 6)))
        memory = int((23.5 - 6 - 3 * (busy > 50) - math.sin(index / 30)) * (1 << 30))
        received = max(0.0, (2_400_000 if busy > 50 else 90_000) * dice.uniform(.5, 1.4))
        rows.append((node, 0, end - (count - index) * step * 1000, cpu, cpu / 40, int(23.5 * (1 << 30)), memory, 71 + 2 * share, received, received / dice.uniform(3, 9),
                     dice.uniform(17, 24) + (30 if dice.random() < .02 else 0), 41 + cpu / 6))
    with opened(hub) as database:
        database.executemany("INSERT OR IGNORE INTO resource_samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


@contextlib.contextmanager
def opened(hub):
    database = sqlite3.connect(hub.data / "hub.sqlite", timeout=30)
    try:
        with database:
            yield database
    finally:
        database.close()


def fill(workspace):
    """Files as a bot that has been at work for a while has them."""
    dice = random.Random(3)
    sizes = {"inbox/2026-11-22.mbox": 1_900_000, "inbox/2026-11-23.mbox": 2_600_000, "inbox/2026-11-24.mbox": 840_000, "drafts/answer-to-the-builder.md": 3_900,
             "drafts/invoice-1042.md": 1_700, "attachments/floor-plan.pdf": 6_400_000, "attachments/terrace.jpg": 3_300_000, "index/words.db": 14_000_000, "rules.toml": 2_100}
    for name, size in sizes.items():
        place = workspace / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(dice.randbytes(size))
