"""Nodes and hubs that babble: each frame is as the protocol has it, and they come in no order that anybody would send.

What must hold: the program lives, everybody else is answered, and what was open is closed afterwards.
"""

import os
import select
import time

from attack import Part, judge
from frames import of_a_hub, of_a_node
from hub import Hub
from node import Node, Refused, enroll
from parts.policy import Owners
from stage import wait

SECONDS, LONG = 4, 60


class Babblers(Owners):
    def __init__(self, programs, folder, environment):
        super().__init__(programs, folder, environment)
        self.environment |= {"HUB_MESSAGE_RATE": "100000", "HUB_PACKET_RATE": "100000"}

    def open_by(self, process):
        return len(os.listdir(f"/proc/{process.pid}/fd"))


part = Part("babble", Babblers)


def drain(session):
    """Takes what the other end says, so that it can go on saying it. False: it has closed the session."""
    while session.buffer or select.select([session.socket], [], [], 0)[0]:
        if session.receive(5) is None:
            return False
    return True


def babble(session, babbler, until):
    """Sends until then, or until the other end has had enough. Gives the number of messages."""
    sent = 0
    try:
        while time.monotonic() < until and drain(session):
            session.send_bytes(babbler.message())
            sent += 1
    except OSError:
        pass
    return sent


def at_the_hub(stage, seconds):
    identities = [enroll(stage, stage.admin, f"babbler-{os.urandom(4).hex()}") for _ in range(4)]
    bots = [stage.send("POST", "/api/bots", token=stage.admin,
                       body={"name": f"babble-{os.urandom(4).hex()}", "node_id": identity["node_id"]}).json["id"] for identity in identities]
    before, until, seed, sent, refused, slowest = stage.open_by(stage.hub), time.monotonic() + seconds, 0, 0, 0, 0.0
    while time.monotonic() < until:
        number = seed % len(identities)
        try:
            node = Node(stage.address, identities[number]["token"])
            node.hello(identities[number]["node_id"])
            sent += babble(node, of_a_node(seed, [bots[number]]), min(until, time.monotonic() + 1))
            node.close()
        except (Refused, OSError):
            refused += 1
        seed += 1
        began = time.monotonic()
        status = stage.send("GET", "/api/nodes", token=stage.admin).status
        slowest = max(slowest, time.monotonic() - began)
        if status != 200:
            return judge(False, f"seed {seed}: an operator is answered {status}")
    wait("what was open to be closed", lambda: stage.open_by(stage.hub) <= before + 8)
    seen = f"{sent} messages over {seed} sessions, {refused} refused, an operator waited {slowest:.2f} s at most"
    return judge(stage.hub.poll() is None and sent > 5 * seed and slowest < 2, seen)


@part.attack("nodes that babble")
def nodes(stage):
    return at_the_hub(stage, SECONDS)


@part.attack("nodes that babble for a minute", quick=False)
def nodes_long(stage):
    return at_the_hub(stage, LONG)


def at_the_agent(stage, seconds):
    hub = Hub()
    stage.here.run(url=hub.url)
    session, until, seed, sent = hub.session(), time.monotonic() + seconds, 0, 0
    session.start_bot("babbled")
    while time.monotonic() < until and stage.here.process.poll() is None:
        sent += babble(session, of_a_hub(seed, ["babbled", f"other-{seed}"]), min(until, time.monotonic() + 1))
        session.close()
        seed += 1
        session = hub.session()
    # It still does what it is asked.
    outcome = session.start_bot("afterwards")[0]
    session.close()
    hub.close()
    alive = stage.here.process.poll() is None
    return judge(alive and outcome == 1 and sent > 5 * seed,
                 f"{sent} messages over {seed} sessions, {'the agent starts a bot afterwards' if outcome == 1 else 'no bot starts'}")


@part.attack("a hub that babbles at an agent")
def hub(stage):
    return at_the_agent(stage, SECONDS)


@part.attack("a hub that babbles at an agent for a minute", quick=False)
def hub_long(stage):
    return at_the_agent(stage, LONG)
