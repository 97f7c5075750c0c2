"""Memory of an idle agent with supervised bots that do nothing: of the agent and of each supervisor, never of the bots."""

import os
import time

from stage import Stage, memory_kib

BOTS = int(os.environ.get("BOTS", "5"))
SECONDS = int(os.environ.get("SECONDS_IDLE", "30"))
# Aimed at: PSS of agent and supervisors together.
AIM_KIB = (12 << 10) + BOTS * (3 << 10)


def run():
    with Stage("/bin/sleep 86400") as stage:
        alone = memory_kib(stage.agent.pid)
        bots = [stage.start_bot(f"idle-{number}") for number in range(BOTS)]
        time.sleep(SECONDS)
        rows = [("agent without bots", alone), ("agent", memory_kib(stage.agent.pid))]
        rows += [(f"supervisor {number + 1}", memory_kib(stage.supervisor(bot))) for number, bot in enumerate(bots)]
    # All at the same moment: what processes share is counted in parts.
    together = [row for _, row in rows[1:]]
    total = {name: sum(row[name] for row in together) for name in ("Rss", "Pss")}
    return {
        "bots": BOTS, "seconds_idle": SECONDS, "aim_pss_kib": AIM_KIB,
        "rows": [{"process": name, "rss_kib": row["Rss"], "pss_kib": row["Pss"]} for name, row in rows],
        "total_rss_kib": total["Rss"], "total_pss_kib": total["Pss"],
    }


def show(result):
    print(f"| idle agent, {result['bots']} supervised bots, after {result['seconds_idle']} s | RSS KiB | PSS KiB |")
    print("|---|--:|--:|")
    for row in result["rows"]:
        print(f"| {row['process']} | {row['rss_kib']} | {row['pss_kib']} |")
    print(f"| agent and supervisors | {result['total_rss_kib']} | {result['total_pss_kib']} |")
    print(f"| aim | | {result['aim_pss_kib']} |")
