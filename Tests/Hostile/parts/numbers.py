"""Numbers no honest sender would send: in a node's messages, a bot's packets and an operator's requests.

What must hold: no program ends, and whoever reads afterwards gets an answer, also after a restart.
"""

import json
import shlex
import sys

from attack import Part, judge
from node import Node, enroll
from stage import Stage, wait

EXTREMES = [2**64 - 1, 2**63, 2**63 - 1, 2**53 + 1]

# Prints packets whose every number is extreme, and goes on living.
LOUD_BOT = """
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
prefix = os.environ["BOT_PACKET_PREFIX"]
for number in (2**64 - 1, 2**63, -2**63, 10**400, 1e308):
    for name in "seq", "ts", "v", "progress", "duration_ms":
        fields = {"v": 1, "seq": 7, "ts": 1767225600000, "type": "note", name: number}
        sys.stdout.write(prefix + json.dumps(fields) + "\\n")
sys.stdout.write(prefix + '{"v":1,"seq":9,"ts":1767225600000,"type":"lifecycle","event":"ready"}\\n')
sys.stdout.flush()
time.sleep(3600)
"""


class Numbers(Stage):
    def __init__(self, programs, folder, environment):
        super().__init__(programs, folder)
        self.environment |= environment

    def begin(self):
        script = self.folder / "loud-bot.py"
        script.write_text(LOUD_BOT)
        command = f"{shlex.quote(sys.executable)} {script} --config {{config}} --workspace {{workspace}}"
        self.raise_hub()
        self.admin = self.operator("the-admin", "admin")["token"]
        self.environment["EDGE_NATIVE_COMMAND"] = command
        self.pair(self.admin)

    def start(self, arguments, log, **more):
        # The stage's own command would win over the loud bot's.
        more.pop("EDGE_NATIVE_COMMAND", None)
        return super().start(arguments, log, **more)

    def readable(self):
        """None where every list answers; otherwise what did not."""
        for path in "nodes", "bots", "commands", "events/recent", "enrollments", "audit":
            try:
                answer = self.send("GET", f"/api/{path}", token=self.admin)
            except OSError as fault:
                return f"GET /api/{path}: {fault}"
            if answer.status >= 500:
                return f"GET /api/{path}: {answer.status}"
        return None

    def raise_again(self):
        self.hub.terminate()
        self.hub.wait(20)
        (self.data / "hub.address").unlink(missing_ok=True)
        self.raise_hub()


part = Part("numbers", Numbers)


@part.attack("a node's heartbeat, resources and packets with extremes in every number", "number-bounds")
def from_a_node(stage):
    identity = enroll(stage, stage.admin, "numbers")
    # Packets of a bot that does not exist would not be kept.
    bot = stage.send("POST", "/api/bots", token=stage.admin,
                     body={"name": "numbers", "node_id": identity["node_id"]}).json["id"]
    for extreme in EXTREMES:
        node = Node(stage.address, identity["token"])
        node.hello(identity["node_id"], f13=extreme, f18=extreme)
        node.heartbeat(2, f2=extreme, f3=extreme, f5=extreme)
        node.open_packets()
        node.packet(bot, EXTREMES.index(extreme) + 1, at=extreme)
        list(node.messages(0.5))
        node.close()
        if fault := stage.readable():
            return judge(False, f"after {extreme}: {fault}")
    stage.raise_again()
    return judge(stage.readable() is None, "every list answers, also after a restart")


@part.attack("requests with extremes in every number", "number-bounds")
def from_an_operator(stage):
    answers = set()
    for extreme in [*EXTREMES, -2**63, 10**400]:
        for path, more in (("nodes", {"name": f"n{len(answers)}"}), ("enrollments", {}), ("operators", {"name": "n", "role": "viewer"})):
            body = json.dumps({**more, "ttl_seconds": extreme})
            answers.add(stage.send("POST", f"/api/{path}", token=stage.admin, body=body,
                                   headers={"Content-Type": "application/json"}).status)
        for query in "limit", "after", "before":
            answers.add(stage.send("GET", f"/api/commands?{query}={extreme}", token=stage.admin).status)
    return judge(max(answers) < 500 and stage.readable() is None, f"answered {sorted(answers)}")


@part.attack("a bot's packets with extremes in every number", "number-bounds")
def from_a_bot(stage):
    bot = stage.send("POST", "/api/bots", token=stage.admin, body={"name": "loud", "node_id": stage.node}).json["id"]
    stage.send("POST", f"/api/bots/{bot}/start", token=stage.admin)
    packets = lambda: stage.send("GET", f"/api/bots/{bot}/packets", token=stage.admin).json["items"]  # noqa: E731
    wait("the bot's packets", lambda: len(packets()) > 5 or stage.agent.poll() is not None, 20)
    if (code := stage.agent.poll()) is not None:
        return judge(False, f"the agent ended with {code}")
    stage.agent.terminate()
    stage.agent.wait(20)
    stage.agent = stage.start([stage.agent_program, "run", "--state-dir", str(stage.folder / "agent")], stage.logs[1])
    wait("the agent after its restart",
         lambda: stage.send("GET", f"/api/nodes/{stage.node}", token=stage.admin).json["health"] == "online")
    state = stage.send("GET", f"/api/bots/{bot}", token=stage.admin).json
    alive = stage.agent.poll() is None and stage.hub.poll() is None
    return judge(alive and state["restart_count"] == 0, f"both programs live, the bot is {state['phase']}")
