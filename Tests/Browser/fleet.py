#!/usr/bin/env python3
"""How the overview feels with NODES=2000 nodes whose heartbeats arrive over real connections. Run it by `make bench-page`.

Simulated agents (Benchmarks/Link/load/nodes.c) say Hello and send heartbeats with figures every HEARTBEAT_SECONDS=15. Chromium
without a screen opens the overview a few times, then scrolls and searches while the figures come in. Measured in the page:
when the first nodes can be read, when all are there, how long frames took and how long the page was busy. Nothing is asserted;
JSON=1 prints for programs."""

import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from browser import Browser  # noqa: E402
from workbench import Fleet, Hub, check_programs, wait  # noqa: E402

COUNT = int(os.environ.get("NODES", "2000"))
HEARTBEAT = int(os.environ.get("HEARTBEAT_SECONDS", "15"))
RUNS = int(os.environ.get("RUNS", "5"))
WATCHED_SECONDS = int(os.environ.get("SECONDS_WATCHED", "20"))

# Frames as the browser makes them, tasks that kept it from making one, and what came in.
METER = """
window.__meter?.observer.disconnect();
const meter = window.__meter = { frames: [], tasks: [], last: performance.now() };
meter.observer = new PerformanceObserver((list) => { for (const entry of list.getEntries()) meter.tasks.push(entry.duration); });
meter.observer.observe({ type: 'longtask' });
(function frame(now) {
  if (meter !== window.__meter) return;
  meter.frames.push(now - meter.last);
  meter.last = now;
  requestAnimationFrame(frame);
})(performance.now());
"""

# When something useful was painted: a row of a node, or all the counts.
PAINT = """
window.__seen = {};
new MutationObserver(() => {
  const note = (name) => { __seen[name] ??= performance.now(); };
  if (document.querySelector('.fleet-row[data-node]')) requestAnimationFrame(() => requestAnimationFrame(() => note('row')));
  const count = document.querySelector('.fleet-total')?.textContent.replace(/\\D/g, '');
  if (Number(count) === %d) requestAnimationFrame(() => requestAnimationFrame(() => note('all')));
}).observe(document, { subtree: true, childList: true, characterData: true });
""" % COUNT


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0


def processor_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def watch(page, action):
    """What the page did while `action` went on for a while."""
    page.js(METER)
    used = page.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    began = time.monotonic()
    action()
    seconds = time.monotonic() - began
    after = page.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    busy = {each["name"]: each["value"] for each in after}["TaskDuration"] - {each["name"]: each["value"] for each in used}["TaskDuration"]
    meter = page.js("return { frames: __meter.frames, tasks: __meter.tasks }")
    frames = meter["frames"][2:]
    return {"seconds": round(seconds, 1), "frames_per_second": round(len(frames) / seconds, 1), "frame_p50_ms": round(percentile(frames, .5), 1),
            "frame_p99_ms": round(percentile(frames, .99), 1), "frame_max_ms": round(max(frames), 1),
            "long_tasks": len(meter["tasks"]), "longest_task_ms": round(max(meter["tasks"], default=0)), "busy_percent": round(100 * busy / seconds, 1)}


def rest(page):
    # allow-sleep: what is measured is what goes on meanwhile
    time.sleep(WATCHED_SECONDS)


def scroll(page):
    page.driver.execute_async_script("""
        const done = arguments[arguments.length - 1];
        const end = performance.now() + arguments[0] * 1000;
        let down = true;
        (function step() {
          scrollBy(0, down ? 120 : -120);
          if (scrollY <= 0) down = true;
          if (innerHeight + scrollY >= document.documentElement.scrollHeight - 1) down = false;
          if (performance.now() < end) requestAnimationFrame(step); else done();
        })();
    """, WATCHED_SECONDS)
    page.js("scrollTo(0, 0)")


def search(page):
    for text in "node-01", "is:online", "example", "1999":
        page.type("#fleet-search", text)
        page.wait("a search's result", lambda: page.js("return document.querySelector('.fleet-bar [role=status]').textContent.includes(' of ') || document.querySelector('.fleet-row[data-node]')"))
    page.type("#fleet-search", " ")


def main():
    check_programs()
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        folder = pathlib.Path(folder)
        hub = Hub(folder, heartbeat_interval=f"{HEARTBEAT}s")
        operator = hub.operator("ada")
        hub.stop()
        fleet = Fleet(hub, folder, [f"node-{number:05d}" for number in range(COUNT)], HEARTBEAT)
        hub.start(HUB_ADMISSION_RATE="100000", HUB_ADMISSION_BURST=str(COUNT))
        fleet.connect()
        page = Browser(hub, 1280, 800)
        page.driver.set_script_timeout(WATCHED_SECONDS + 60)
        try:
            page.sign_in(operator["login_link"])
            # allow-sleep: a whole round of heartbeats
            time.sleep(HEARTBEAT + 5)
            page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": PAINT})
            page.driver.execute_cdp_cmd("Performance.enable", {})
            paints = []
            for _ in range(RUNS):
                page.open("/")
                paints.append(page.wait("all nodes", lambda: page.js("return window.__seen?.all ? [__seen.row, __seen.all] : null"), limit=120))
            used = processor_seconds(hub.program.process.pid)
            began = time.monotonic()
            rows = {"at rest": watch(page, lambda: rest(page))}
            rows["at rest"]["hub_busy_percent"] = round(100 * (processor_seconds(hub.program.process.pid) - used) / (time.monotonic() - began), 1)
            rows["scrolling"] = watch(page, lambda: scroll(page))
            rows["searching"] = watch(page, lambda: search(page))
            elements = page.js("return document.querySelectorAll('*').length")
            memory = page.js("return performance.memory.usedJSHeapSize")
            moved = sum(shift["value"] for shift in page.js("return window.__shifts"))
            alive = fleet.disconnect()
            result = {
                "nodes": COUNT, "alive": alive, "heartbeats_per_second": round(COUNT / HEARTBEAT, 1),
                "first_row_ms": [round(first) for first, _ in paints], "all_nodes_ms": [round(every) for _, every in paints],
                "elements": elements, "heap_mb": round(memory / 1e6, 1), "layout_shift": round(moved, 4), **rows}
            if os.environ.get("JSON") == "1":
                print(json.dumps(result))
                return
            print(f"{COUNT} nodes, {result['heartbeats_per_second']} heartbeats a second, {alive} sessions lived to the end")
            print(f"first row after {statistics.median(result['first_row_ms']):.0f} ms, all nodes after {statistics.median(result['all_nodes_ms']):.0f} ms (medians of {RUNS})")
            print(f"{elements} elements, {result['heap_mb']} MB of JavaScript heap, layout shift {result['layout_shift']}\n")
            print("| | frames/s | p50 ms | p99 ms | longest ms | tasks over 50 ms | longest task ms | page busy % |\n| --- | --: | --: | --: | --: | --: | --: | --: |")
            for name, row in rows.items():
                print(f"| {name} | {row['frames_per_second']} | {row['frame_p50_ms']} | {row['frame_p99_ms']} | {row['frame_max_ms']} | {row['long_tasks']} | {row['longest_task_ms']} | {row['busy_percent']} |")
            print(f"\nThe hub was busy {rows['at rest']['hub_busy_percent']} % of one cpu at rest.")
        finally:
            page.close()
            if fleet.process:
                fleet.disconnect()
            hub.stop()


if __name__ == "__main__":
    main()
