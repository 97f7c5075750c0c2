"""Strangers: whoever reaches the hub's port and has no credential.

What must hold: whatever they try, a node and an operator whose credentials are good get in and are served, and the hub's memory,
disk and log do not grow with them.
"""

import concurrent.futures
import os
import time

from attack import Part, judge
from node import Node, enroll, upgrade_request
from strangers import Crowd, behind, unfinished_hello, upgrade

# So few that strangers can use them up: 256 connections, 128 of them theirs.
DESCRIPTORS = 512


class Strangers(Crowd):
    def __init__(self, programs, folder, environment):
        super().__init__(programs, folder, environment, DESCRIPTORS)
        self.environment["HUB_STRANGER_CONNECTIONS_PER_ADDRESS"] = "32"

    def begin(self):
        super().begin()
        self.identity = enroll(self, self.admin, "good")

    def node_works(self, address="198.51.100.200"):
        """Whether the node whose token is good gets a session, from a connection of its own."""
        try:
            node = Node(self.address, behind(self.identity["token"], address), timeout=5)
            welcomed = node.hello(self.identity["node_id"]) is not None
            node.close()
            return welcomed
        except OSError:
            return False


def at_once(try_one, count):
    """Many tries in a moment: one after the other, on a busy machine, they would be few enough a second to be let through."""
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        return list(pool.map(try_one, range(count)))


part = Part("strangers", Strangers)


@part.attack("a wrong token, and no Hello", "token-at-upgrade")
def wrong_token(stage):
    began = time.monotonic()
    status, code = upgrade(stage, behind("edge_nobody", "198.51.100.1"))
    return judge(status == 101 and code == 4401, f"{status}, closed with {code} after {time.monotonic() - began:.2f} s")


@part.attack("40 wrong tokens, each with 4 MiB of a first message behind it", "token-at-upgrade")
def large_first_message(stage):
    before, most, closed, open_connections = stage.resident(), 0, 0, []
    hello = unfinished_hello(4 << 20)
    for index in range(40):
        connection = stage.dial()
        open_connections.append(connection)
        connection.settimeout(0.5)
        try:
            connection.sendall(upgrade_request(behind("edge_nobody", f"198.51.101.{index}")) + hello)
        except OSError:
            closed += 1
        most = max(most, stage.resident())
    for connection in open_connections:
        connection.close()
    grown = most - before
    return judge(grown <= 24 and closed >= 30, f"{closed} were cut off while they sent, the hub grew by {grown:.0f} MiB")


@part.attack("wrong tokens from one address, without Hello: counted, and limited", "failure-limits")
def counted_without_hello(stage):
    answers = [upgrade(stage, behind("edge_nobody", "198.51.100.2")) for _ in range(40)]
    closed = sum(code == 4401 for _, code in answers)
    busy = sum(status == 503 for status, _ in answers)
    return judge(25 <= closed <= 35 and busy == 40 - closed, f"{closed} closed with 4401, then {busy} answered 503")


@part.attack("a good node from an address whose tries are used up", "good-credentials-pass")
def good_node(stage):
    for _ in range(40):
        upgrade(stage, behind("edge_nobody", "198.51.100.3"))
    works = stage.node_works("198.51.100.3")
    return judge(works, f"it gets its session: {works}")


@part.attack("600 connections that are kept open after a request", "connection-census")
def keep_alive_hoard(stage):
    hoard, refused = [], 0
    for _ in range(600):
        try:
            connection = stage.dial(2)
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n")
            hoard.append(connection)
        except OSError:
            refused += 1
    works = [stage.works(), stage.node_works()]
    evicted = stage.refusals("evicted_total") if works[0] else 0
    for connection in hoard:
        connection.close()
    return judge(all(works) and evicted > 0, f"operator, node served: {works}; {evicted:.0f} had to make room")


@part.attack("200 connections for one client, while another and a node come", "connection-census")
def one_address(stage):
    hoard = []
    before = stage.refusals("evicted_address")
    for _ in range(200):
        connection = stage.dial()
        connection.sendall(b"GET /api/nodes HTTP/1.1\r\nHost: hub\r\nX-Forwarded-For: 203.0.113.77\r\n\r\n")
        connection.recv(4096)
        hoard.append(connection)
    left = stage.figure('controlhub_connections{kind="stranger"}')
    evicted = stage.refusals("evicted_address") - before
    works = [stage.works(address="203.0.113.78"), stage.node_works("203.0.113.77")]
    for connection in hoard:
        connection.close()
    return judge(all(works) and evicted >= 160 and left <= 40,
                 f"{evicted:.0f} had to make room, {left:.0f} are left; operator, node served: {works}")


@part.attack("wrong sign-ins spread over 400 networks", "good-credentials-pass")
def spread_sign_ins(stage):
    def sign_in(index):
        return stage.send("POST", "/api/session", body={"token": f"op_wrong{index}"},
                          headers={"X-Forwarded-For": f"2001:db8:{index // 16:x}:{index:x}::1"}).status

    answers = at_once(sign_in, 400)
    good = stage.send("POST", "/api/session", body={"token": stage.admin},
                      headers={"X-Forwarded-For": "2001:db8:0:1::1"}).status
    return judge(good == 201 and 429 in answers, f"{answers.count(401)} refused, {answers.count(429)} limited; a good one: {good}")


@part.attack("wrong codes spread over 400 networks", "good-credentials-pass")
def spread_codes(stage):
    code = stage.send("POST", "/api/enrollments", token=stage.admin, body={}).json["code"]

    def redeem(text, address):
        body = {"code": text, "request_id": os.urandom(16).hex(), "name": "n"}
        return stage.send("POST", "/edge/v1/enroll", body=body, headers={"X-Forwarded-For": address}).status

    answers = at_once(lambda index: redeem("ABCD-EFGH-JKMN", f"2001:db8:{index // 16:x}:{index:x}::1"), 400)
    good = redeem(code, "2001:db8:0:1::1")
    return judge(good == 201 and 429 in answers, f"{answers.count(404)} refused, {answers.count(429)} limited; a good one: {good}")


@part.attack("wrong tokens with API calls, from an operator's own address", "good-credentials-pass")
def wrong_api_tokens(stage):
    address = {"X-Forwarded-For": "203.0.113.90"}
    answers = [stage.send("GET", "/api/nodes", token="op_wrong", headers=address).status for _ in range(100)]
    works = stage.works(address="203.0.113.90")
    return judge(works and answers.count(401) <= 70,
                 f"{answers.count(401)} refused, {answers.count(429)} limited; the operator is served: {works}")


@part.attack("who is turned away is counted, and the log has a line for many", "refusals-counted")
def counted(stage):
    before = stage.refusals("node_token_unknown") + stage.refusals("node_token_limit")
    size = stage.logs[0].stat().st_size
    for _ in range(60):
        upgrade(stage, behind("edge_nobody", "198.51.100.9"))
    grown = stage.refusals("node_token_unknown") + stage.refusals("node_token_limit") - before
    with open(stage.logs[0]) as log:
        log.seek(size)
        lines = sum("turned away" in line for line in log)
        log.seek(0)
        told = sum("turned away" in line for line in log)
    return judge(grown == 60 and lines <= 6 and told > 0, f"{grown:.0f} counted, {lines} lines for them")


@part.attack("500 strangers with every flood at once", None, quick=False)
def everything(stage):
    import flood

    return flood.carry_out(stage)
