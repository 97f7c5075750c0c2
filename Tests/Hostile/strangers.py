"""What strangers' attacks have in common: upgrades without a session, figures of the hub, and bounds on what a hub may open."""

import resource
import socket
import struct
import time

from node import DATA, MAX_PAYLOAD, MORE, Node, upgrade_request
from stage import Stage


class Crowd(Stage):
    """A hub, its operator and one node that the attacker does not know."""

    def __init__(self, programs, folder, environment, descriptors=None):
        super().__init__(programs, folder)
        self.programs, self.more = programs, environment
        self.environment |= environment
        self.descriptors = descriptors

    def begin(self):
        self.raise_hub()
        self.admin = self.operator("the-admin", "admin")["token"]

    def start(self, arguments, log, **more):
        process = super().start(arguments, log, **more)
        if self.descriptors and arguments[0] == self.hub_program:
            # Before it can have read its limit: a program takes longer to start than this.
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))
        return process

    def dial(self, seconds=10):
        return socket.create_connection(self.address, timeout=seconds)

    def resident(self):
        """What the hub holds, in MiB."""
        for line in open(f"/proc/{self.hub.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0

    def figure(self, name):
        """One sample of /metrics."""
        for line in self.send("GET", "/metrics", token=self.admin).body.decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        return 0

    def refusals(self, reason):
        return self.figure(f'controlhub_refusals_total{{reason="{reason}"}}')

    def works(self, token=None, address=None):
        """Whether an operator is answered, with a connection of its own."""
        try:
            headers = {"X-Forwarded-For": address} if address else None
            return self.send("GET", "/api/nodes", token=token or self.admin, headers=headers, timeout=5).status == 200
        except OSError:
            return False


def behind(token, address):
    """A token as it is sent for a client behind a proxy of this machine."""
    return f"{token}\r\nX-Forwarded-For: {address}"


def receive_close(connection, seconds):
    """(the status of the upgrade, the close code) of a connection whose request was sent; None for what did not come."""
    connection.settimeout(seconds)
    data = b""
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            part = connection.recv(65536)
            if not part:
                break
            data += part
            head, found, rest = data.partition(b"\r\n\r\n")
            if found and (len(rest) >= 4 or not head.startswith(b"HTTP/1.1 101")):
                break
    except OSError:
        pass
    head, found, rest = data.partition(b"\r\n\r\n")
    status = int(head.split()[1]) if found else None
    code = struct.unpack(">H", rest[2:4])[0] if status == 101 and len(rest) >= 4 and rest[0] == 0x88 else None
    return status, code


def upgrade(stage, token, seconds=3):
    """Asks for the upgrade with a token and says nothing more. Gives the status and the close code."""
    with stage.dial() as connection:
        connection.sendall(upgrade_request(token))
        return receive_close(connection, seconds)


def unfinished_hello(size):
    """So many bytes of a first message that never ends: whole WebSocket messages with parts that say that more will come."""
    payload = Node.frame(DATA, 0, bytes(MAX_PAYLOAD), MORE) * 3
    # A mask of zeros masks nothing.
    message = struct.pack(">BBH", 0x82, 0xFE, len(payload)) + bytes(4) + payload
    return message * (size // len(payload))
