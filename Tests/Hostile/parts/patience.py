"""Slow strangers, and operators' programs that hang: whoever holds a connection and does not use it.

The hub runs with its limits on time divided by twenty.
"""

import socket
import time

from attack import Part, judge
from strangers import Crowd

TIMES = 20


class Patience(Crowd):
    def __init__(self, programs, folder, environment):
        super().__init__(programs, folder, environment)
        self.environment["HUB_TEST_IMPATIENCE"] = str(TIMES)

    def held(self, data, drip=b"", take=True, seconds=6, receive_buffer=None):
        """How long the hub holds a connection on which `data` is sent and then a byte of `drip` every tenth of a second."""
        with socket.socket() as connection:
            if receive_buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.settimeout(5)
            connection.connect(self.address)
            began = time.monotonic()
            connection.sendall(data)
            index = 0
            while time.monotonic() - began < seconds:
                try:
                    if drip:
                        connection.sendall(drip[index % len(drip):][:1])
                        index += 1
                    connection.settimeout(0.1)
                    if take:
                        if not connection.recv(65536):
                            break
                    else:
                        time.sleep(0.1)
                        # A reset shows without reading.
                        if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or self.is_closed(connection):
                            break
                except TimeoutError:
                    continue
                except OSError:
                    break
            return time.monotonic() - began

    @staticmethod
    def is_closed(connection):
        # TCP_INFO begins with the state: 1 is ESTABLISHED.
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != 1


part = Part("patience", Patience)
HEAD = b"\r\nHost: hub\r\n"


@part.attack("a request's head, a byte now and then", "connection-patience")
def slow_head(stage):
    held = stage.held(b"GET /healthz HTTP/1.1" + HEAD + b"X-A: ", b"a")
    return judge(held < 3, f"closed after {held:.1f} s, {stage.refusals('slow_head'):.0f} counted")


@part.attack("nothing at all", "connection-patience")
def silent(stage):
    held = stage.held(b"")
    return judge(held < 3, f"closed after {held:.1f} s")


@part.attack("a connection kept open after its answer", "connection-patience")
def idle(stage):
    held = stage.held(b"GET /healthz HTTP/1.1" + HEAD + b"\r\n")
    return judge(held < 5, f"closed after {held:.1f} s, {stage.refusals('idle'):.0f} counted")


@part.attack("the head of a second request, a byte now and then", "connection-patience")
def slow_second_head(stage):
    held = stage.held(b"GET /healthz HTTP/1.1" + HEAD + b"\r\nGET /healthz HTTP/1.1" + HEAD + b"X-A: ", b"a")
    return judge(held < 5, f"closed after {held:.1f} s")


@part.attack("a body, a byte now and then", "connection-patience")
def slow_awaited_body(stage):
    held = stage.held(b"POST /edge/v1/enroll HTTP/1.1" + HEAD + b"Content-Length: 5000\r\n\r\n", b"a")
    return judge(held < 5, f"closed after {held:.1f} s, {stage.refusals('slow_body'):.0f} counted")


@part.attack("a body that nobody waits for, a byte now and then", "connection-patience")
def slow_body(stage):
    head = b"POST /healthz HTTP/1.1" + HEAD + b"Content-Length: 100000\r\n\r\n"
    held = stage.held(head, b"a")
    return judge(held < 5, f"closed after {held:.1f} s")


@part.attack("a stranger who does not take his answers", "connection-patience")
def slow_reader(stage):
    ask = (b"GET /api/openapi.json HTTP/1.1" + HEAD + b"\r\n") * 30
    held = stage.held(ask, take=False, receive_buffer=4096)
    return judge(held < 5, f"closed after {held:.1f} s, {stage.refusals('slow_reader'):.0f} counted")


@part.attack("an operator's program that does not take its answers", "connection-patience")
def slow_known_reader(stage):
    ask = (b"GET /api/openapi.json HTTP/1.1" + HEAD + b"\r\n"
           + b"GET /metrics HTTP/1.1" + HEAD + f"Authorization: Bearer {stage.admin}\r\n\r\n".encode()) * 30
    held = stage.held(ask, take=False, receive_buffer=4096)
    return judge(held < 5, f"closed after {held:.1f} s")


@part.attack("a stream of events is not cut for being quiet", None)
def quiet_stream(stage):
    ask = b"GET /api/events HTTP/1.1" + HEAD + f"Authorization: Bearer {stage.admin}\r\n\r\n".encode()
    held = stage.held(ask, seconds=5)
    return judge(held >= 5, f"still open after {held:.1f} s")
