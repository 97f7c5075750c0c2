"""Strangers who leave the hub nothing to open: more connections than it has descriptors for, all of them kept.

What must hold: a probe is answered meanwhile, the hub says what it lacks and does not spend itself on asking again, and it is as
before when they have gone. The limit is taken down to a little more than what the hub has open by itself, so that what it
keeps strangers' connections to does not keep them from using all up.
"""

import concurrent.futures
import os
import resource
import socket
import threading
import time

from attack import Part, judge
from node import Node, enroll
from strangers import Crowd

SPARE = 64
HOARD = 200


class Short(Crowd):
    def begin(self):
        super().begin()
        # Whatever is opened when it is first needed is open then.
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: self.works(), range(64)))
        self.take_down()

    def take_down(self):
        limit = len(os.listdir(f"/proc/{self.hub.pid}/fd")) + SPARE
        resource.prlimit(self.hub.pid, resource.RLIMIT_NOFILE, (limit, limit))

    def is_well(self):
        try:
            return self.send("GET", "/healthz", timeout=20).status == 200
        except OSError:
            return False

    def processor(self):
        """Seconds of processors that the hub has taken."""
        fields = open(f"/proc/{self.hub.pid}/stat").read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Hoard:
    """Connections that are kept open, and dialed again where the hub cuts them off."""

    def __init__(self, address):
        self.address, self.stopped, self.sockets = address, threading.Event(), []
        self.thread = threading.Thread(target=self.keep, daemon=True)
        self.thread.start()

    def keep(self):
        while not self.stopped.wait(0.05):
            self.sockets = [each for each in self.sockets if self.is_open(each)]
            while len(self.sockets) < HOARD and not self.stopped.is_set():
                try:
                    self.sockets.append(socket.create_connection(self.address, timeout=1))
                except OSError:
                    break

    @staticmethod
    def is_open(connection):
        try:
            connection.setblocking(False)
            return bool(connection.recv(1))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def end(self):
        self.stopped.set()
        self.thread.join()
        for each in self.sockets:
            each.close()


part = Part("descriptors", Short)


@part.attack(f"{HOARD} connections, kept and dialed again, where {SPARE} descriptors are left")
def hoard(stage):
    crowd = Hoard(stage.address)
    try:
        while len(crowd.sockets) < HOARD:
            time.sleep(0.01)
        began, before = time.monotonic(), stage.processor()
        well = [stage.is_well() for _ in range(10)]
        # At least so long that a loop would show.
        crowd.stopped.wait(max(0, began + 5 - time.monotonic()))
        load = (stage.processor() - before) / (time.monotonic() - began)
    finally:
        crowd.end()
    told = [line for line in stage.logs[0].read_text().splitlines() if "no_descriptors" in line]
    counted = stage.refusals("no_descriptors")
    seen = f"{well.count(True)} of 10 probes answered, {load:.2f} of a core, {counted:.0f} counted, {len(told)} lines"
    return judge(all(well) and load < 0.5 and counted > 0 and 0 < len(told) <= 10, seen)


@part.attack("and when they have gone")
def afterwards(stage):
    works = [stage.works() for _ in range(20)]
    identity = enroll(stage, stage.admin, "good")
    node = Node(stage.address, identity["token"], timeout=10)
    welcomed = node.hello(identity["node_id"]) is not None
    node.close()
    return judge(all(works) and welcomed, f"{works.count(True)} of 20 calls answered, a node gets its session: {welcomed}")
