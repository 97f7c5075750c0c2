"""Runs the long tests side by side with real programs and prints a table for each. See `--help`.

A part is a function that takes the options and returns (title, rows, healthy); add it to PARTS.
"""

import argparse
import concurrent.futures
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import flapping  # noqa: E402
import proxies  # noqa: E402
from bench import CHECKOUT, Failure  # noqa: E402

PARTS = {"proxies": proxies.run, "flapping": flapping.run}


def table(title, rows):
    columns = list(rows[0])
    widths = [max(len(column), *(len(str(row[column])) for row in rows)) for column in columns]
    lines = [title, "  ".join(column.ljust(width) for column, width in zip(columns, widths))]
    lines += ["  ".join(str(row[column]).ljust(width) for column, width in zip(columns, widths)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def main():
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long (default 600)")
    parser.add_argument("--scale", type=float, default=1, help="divides time-outs of proxies and the heartbeat")
    parser.add_argument("--heartbeat", type=float, help="seconds between heartbeats (default 15 / scale, at least 1)")
    parser.add_argument("--only", choices=PARTS, action="append", help="runs this part alone")
    parser.add_argument("--binaries", type=pathlib.Path, default=CHECKOUT / ".build" / "debug")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--keep", action="store_true", help="leaves its folder, with every program's output")
    options = parser.parse_args()
    began = time.monotonic()
    chosen = options.only or list(PARTS)
    results, healthy = {}, True
    with concurrent.futures.ThreadPoolExecutor(len(chosen)) as pool:
        running = {name: pool.submit(PARTS[name], options) for name in chosen}
        for name, part in running.items():
            try:
                title, rows, good = part.result()
            except Failure as failure:
                title, rows, good = f"{name}: {failure}", [], False
            healthy &= good
            results[name] = {"title": title, "rows": rows, "ok": good}
    if options.json:
        print(json.dumps({"ok": healthy, "parts": results}, indent=2, ensure_ascii=False))
    else:
        for result in results.values():
            print(table(result["title"], result["rows"]) if result["rows"] else result["title"], end="\n\n")
        print(f"soak: {'ok' if healthy else 'FAILED'} after {time.monotonic() - began:.0f} s")
    return 0 if healthy else 1


sys.exit(main())
