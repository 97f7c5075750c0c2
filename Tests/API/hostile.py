"""What somebody with bad intentions, or a broken program, may send, and what the hub answers.

Each attempt is a row: what is tried, what must come of it, and what came. The rows are the table in docs/api-hostile.md.
"""

import concurrent.futures
import json
import re

BIG = 70_000


class Row:
    def __init__(self, group, what, answered, good):
        self.group, self.what, self.answered, self.good = group, what, answered, good


def shown(answer):
    # What an enrollment answers has a code as well, and that one is secret.
    return f"{answer.status}" + (f" `{answer.code}`" if answer.status >= 400 and answer.code else "")


def raw_shown(received, closed):
    head = re.match(rb"HTTP/1\.1 (\d{3})", received)
    code = re.search(rb'"code":"(\w+)"', received)
    text = head.group(1).decode() if head else "nothing"
    return text + (f" `{code.group(1).decode()}`" if code else "") + (", closed" if closed else "")


class Attempts:
    def __init__(self, stage, tokens, bot):
        self.stage, self.tokens, self.bot = stage, tokens, bot
        self.rows = []
        self.waiting = []
        self.pool = concurrent.futures.ThreadPoolExecutor(16)

    def row(self, group, what, answer, statuses, extra=True):
        # Written so that two runs write the same table.
        named = what.replace(self.bot, "{bot}")
        self.rows.append(Row(group, named, shown(answer), answer.status in statuses and bool(extra)))

    def raw(self, group, what, data, accept, seconds=10, **more):
        """Sent by itself, because it may take a while. `accept` judges the bytes and whether the hub closed."""
        self.waiting.append((group, what, accept, self.pool.submit(self.stage.raw, data, seconds, **more)))

    def finish(self):
        for group, what, accept, future in self.waiting:
            received, seconds, closed = future.result()
            answered = raw_shown(received, closed) + (f" after {seconds:.0f} s" if seconds >= 2 else "")
            self.rows.append(Row(group, what, answered, accept(received, closed)))

    # The attempts

    def csrf(self):
        send, group = self.stage.send, "Cross-site request forgery"
        cookie, csrf = self.stage.sign_in(self.tokens["admin"])
        _, others = self.stage.sign_in(self.tokens["operator"])
        node = {"name": "forged"}
        for what, headers in {
            "a change with the cookie alone": {},
            "the same from another site's page (`Origin`)": {"Origin": "https://evil.example"},
            "with an empty CSRF token": {"X-CSRF-Token": ""},
            "with another session's CSRF token": {"X-CSRF-Token": others},
            "with the session's cookie as CSRF token": {"X-CSRF-Token": cookie.split("=", 1)[1]},
        }.items():
            self.row(group, what, send("POST", "/api/nodes", body=node, headers={"Cookie": cookie, **headers}), [403])
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        self.row(group, "signing in by a form of another site",
                 send("POST", "/api/session", body=f"token={self.tokens['admin']}", headers=form), [422])
        text = {"Content-Type": "text/plain"}
        body = json.dumps({"token": self.tokens["admin"]})
        self.row(group, "signing in by JSON sent as text/plain", send("POST", "/api/session", body=body, headers=text), [422])
        preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        answer = send("OPTIONS", "/api/nodes", headers=preflight)
        self.row(group, "a CORS preflight: no permission comes back", answer, [404, 405],
                 "Access-Control-Allow-Origin" not in answer.headers)
        answer = send("POST", "/api/session", body={"token": self.tokens["admin"]})
        kept = answer.headers["Set-Cookie"]
        self.row(group, "the cookie's attributes: HttpOnly, SameSite=Strict, Path=/", answer, [201],
                 all(each in kept for each in ("HttpOnly", "SameSite=Strict", "Path=/")))
        names = send("GET", "/api/nodes?search=forged", token=self.tokens["admin"]).json["items"]
        self.row(group, "afterwards no node called `forged` is there", send("GET", "/api/version", token=self.tokens["admin"]),
                 [200], not names)
        self.csrf_of_session = (cookie, csrf)

    def sessions(self):
        send, group = self.stage.send, "Session fixation and theft"
        planted = {"Cookie": "hub_session=sess_planted"}
        answer = send("POST", "/api/session", body={"token": self.tokens["operator"]}, headers=planted)
        self.row(group, "signing in with a planted cookie gives a new one", answer, [201],
                 "sess_planted" not in answer.headers["Set-Cookie"])
        self.row(group, "the planted cookie afterwards", send("GET", "/api/session", headers=planted), [401])
        old = answer.headers["Set-Cookie"].split(";")[0]
        again = send("POST", "/api/session", body={"token": self.tokens["operator"]}, headers={"Cookie": old})
        self.row(group, "signing in again", again, [201])
        self.row(group, "the session the browser had before", send("GET", "/api/session", headers={"Cookie": old}), [401])
        cookie, csrf = self.stage.sign_in(self.tokens["operator"])
        both = {"Cookie": cookie, "X-CSRF-Token": csrf}
        send("DELETE", "/api/session", headers=both)
        self.row(group, "a cookie after signing out", send("GET", "/api/session", headers=both), [401])
        secret = cookie.split("=", 1)[1]
        self.row(group, "a session's cookie as bearer token", send("GET", "/api/nodes", token=secret), [401])
        self.row(group, "a bearer token as cookie",
                 send("GET", "/api/nodes", headers={"Cookie": f"hub_session={self.tokens['admin']}"}), [401])
        self.row(group, "a node's token at the API",
                 send("GET", "/api/nodes", token=self.stage.secrets["the token of the node"]), [401])
        self.row(group, "an operator's token at the nodes' end", send("GET", "/edge/v1/whoami", token=self.tokens["admin"]),
                 [200])
        own = send("GET", "/api/tokens", token=self.tokens["operator2"]).json["items"][0]["id"]
        self.row(group, "revoking another operator's token", send("DELETE", f"/api/tokens/{own}", token=self.tokens["operator"]),
                 [404])

    def escalation(self):
        send, group = self.stage.send, "More than the role allows"
        operator = self.tokens["operator"]
        new = {"name": "mine", "role": "admin"}
        self.row(group, "an operator makes an operator", send("POST", "/api/operators", token=operator, body=new), [403])
        me = send("GET", "/api/session", token=operator).json["operator"]["id"]
        self.row(group, "an operator makes itself admin",
                 send("PATCH", f"/api/operators/{me}", token=operator, body={"role": "admin"}), [403])
        self.row(group, "a token asked for with a role in it",
                 send("POST", "/api/tokens", token=operator, body={"name": "t", "role": "admin"}), [422])
        self.row(group, "a viewer makes itself a token", send("POST", "/api/tokens", token=self.tokens["viewer"],
                                                             body={"name": "t"}), [403])
        override = {"X-HTTP-Method-Override": "DELETE", "X-Original-URL": "/api/operators"}
        self.row(group, "headers that some frameworks take for the method or path",
                 send("GET", "/api/nodes", token=self.tokens["viewer"], headers=override), [200])

    def redirects(self):
        send, group = self.stage.send, "Open redirect and foreign names"
        for path in ("//evil.example/", "/\\evil.example", "/%2f%2fevil.example", "/login?next=https://evil.example",
                     "/login?return_to=//evil.example", "/api/session?redirect=https://evil.example"):
            answer = send("GET", path)
            self.row(group, f"`GET {path}`", answer, [200, 400, 401, 404, 422], "Location" not in answer.headers)
        evil = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
        answer = send("POST", "/api/enrollments", token=self.tokens["admin"], body={}, headers=evil)
        self.stage.secrets["another enrollment code"] = answer.json["code"]
        self.row(group, "another `Host`: the command to paste does not name it", answer, [201],
                 b"evil.example" not in answer.body)

    def traversal(self):
        send, group = self.stage.send, "Path traversal"
        for path in ("/assets/../hub.key", "/assets/..%2f..%2fhub.key", "/assets/%2e%2e/%2e%2e/etc/passwd",
                     "/assets/....//hub.key", "/assets/hub.key%00.js", "/../../../../etc/passwd",
                     "/api/nodes/..%2f..%2fetc%2fpasswd", f"/api/bots/{self.bot}/conversations/..%2f..%2f",
                     f"/api/bots/{self.bot}/workspace/..%2f..%2fconfig.json"):
            answer = send("GET", path, token=self.tokens["admin"])
            self.row(group, f"`GET {path}`", answer, [400, 403, 404, 422],
                     b"root:" not in answer.body and b"SQLite" not in answer.body)

    def injection(self):
        send, group = self.stage.send, "Header and text injection"
        admin = self.tokens["admin"]
        self.row(group, "a line break in a node's name",
                 send("POST", "/api/nodes", token=admin, body={"name": "a\r\nSet-Cookie: x=1"}), [422])
        answer = send("GET", "/api/nodes/x%0d%0aSet-Cookie:%20hub_session=evil", token=admin)
        self.row(group, "a line break in the path", answer, [400, 404], "Set-Cookie" not in answer.headers)
        answer = send("GET", "/api/nodes?cursor=%0d%0aX-Evil:%201", token=admin)
        self.row(group, "a line break in the query", answer, [422], "X-Evil" not in answer.headers)
        self.row(group, "SQL in a filter", send("GET", "/api/nodes?search=%27%20OR%201=1--&label=a%27)%20OR%201=1--",
                                                 token=admin), [200])
        script = send("POST", "/api/nodes", token=admin, body={"name": "<script>alert(1)</script>"})
        self.stage.secrets["the token of a node with a script for a name"] = script.json["token"]
        self.row(group, "a script as a node's name: JSON only, `nosniff`", script, [201],
                 script.headers["X-Content-Type-Options"] == "nosniff")
        self.row(group, "a tab in an Idempotency-Key", send("POST", "/api/nodes", token=admin, body={"name": "k"},
                                                           headers={"Idempotency-Key": "a" * 256}), [422])
        head = f"GET /api/version HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {admin}\r\n".encode()
        refused = lambda received, closed: b" 400 " in received[:20] and closed
        self.raw(group, "a NUL in a header", head + b"X-A: a\0b\r\n\r\n", refused)
        self.raw(group, "a header line that goes on in the next", head + b"X-A: a\r\n b\r\nConnection: close\r\n\r\n",
                 lambda received, closed: b" 400 " in received[:20] or b" 200 " in received[:20])
        self.raw(group, "a blank before a header's colon", head + b"Content-Length : 5\r\n\r\n", refused)

    def smuggling(self):
        group = "Request smuggling"
        refused = lambda received, closed: len(re.findall(rb"HTTP/1\.1 \d{3} ", received)) == 1 and b" 400 " in received[:20]
        post = b"POST /api/session HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        smuggled = b"0\r\n\r\nGET /api/version HTTP/1.1\r\nHost: h\r\n\r\n"
        self.raw(group, "both Content-Length and Transfer-Encoding",
                 post + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + smuggled, refused)
        self.raw(group, "two Content-Lengths", post + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}", refused)
        self.raw(group, "a negative Content-Length", post + b"Content-Length: -1\r\n\r\n", refused)
        self.raw(group, "a Content-Length with a sign", post + b"Content-Length: +2\r\n\r\n{}", refused)
        self.raw(group, "an unknown Transfer-Encoding", post + b"Transfer-Encoding: gzip, chunked, x\r\n\r\n{}",
                 lambda received, closed: b" 400 " in received[:20] or b" 501 " in received[:20])
        self.raw(group, "a chunk size that is no number", post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
                 lambda received, closed: b" 400 " in received[:20] and closed)

    def oversized(self):
        send, group = self.stage.send, "Too large"
        admin = self.tokens["admin"]
        self.row(group, "a name of 70 kB", send("POST", "/api/nodes", token=admin, body={"name": "x" * BIG}), [413])
        self.row(group, "a message of 2 MiB",
                 send("POST", f"/api/bots/{self.bot}/messages", token=admin, body={"text": "x" * (2 << 20)}), [413])
        self.row(group, "a message of 600 kB",
                 send("POST", f"/api/bots/{self.bot}/messages", token=admin, body={"text": "x" * 600_000}), [413])
        self.row(group, "a page of 501", send("GET", "/api/nodes?limit=501", token=admin), [422])
        self.row(group, "10,001 lines of a log", send("GET", f"/api/bots/{self.bot}/logs?tail=10001", token=admin), [422])
        self.row(group, "33 labels", send("PATCH", f"/api/nodes/{self.stage.node}", token=admin,
                                          body={"labels": {f"l{i}": "" for i in range(33)}}), [422])
        head = f"POST /api/nodes HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {admin}\r\n".encode()
        too_large = lambda received, closed: b" 413 " in received[:20] and closed
        self.raw(group, "a Content-Length of a terabyte", head + b"Content-Length: 1099511627776\r\n\r\n{", too_large)
        chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
        self.raw(group, "chunks without an end", head + b"Transfer-Encoding: chunked\r\n\r\n", too_large, chunks=[chunk] * 40)
        bad_head = lambda received, closed: b" 431 " in received[:20] and closed
        get = b"GET /healthz HTTP/1.1\r\nHost: h\r\n"
        self.raw(group, "a header of 64 kB", get + b"X-A: " + b"a" * 65536 + b"\r\n\r\n", bad_head)
        self.raw(group, "2,000 headers", get + b"".join(b"X-%d: a\r\n" % i for i in range(2000)) + b"\r\n", bad_head)
        self.raw(group, "a path of 100 kB", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
                 lambda received, closed: b" 4" in received[:12] or closed)

    def malformed(self):
        send, group = self.stage.send, "Malformed"
        admin = self.tokens["admin"]
        json_type = {"Content-Type": "application/json"}
        for what, body in {
            "JSON that stops": b'{"name":', "a list instead of an object": b"[]", "a text instead of an object": b'"a"',
            "bytes that are no UTF-8": b'{"name":"\xff\xfe"}', "10,000 open brackets": b"[" * 10_000,
            "10,000 open braces": b'{"a":' * 10_000, "a number beyond all bounds": b'{"name":"a","ttl_seconds":1e999}',
            "a lifetime of 292 billion years": b'{"name":"a","ttl_seconds":9223372036854775807}',
            "a lifetime beyond 64 bits": b'{"name":"a","ttl_seconds":18446744073709551615}',
            "a NUL in a name": b'{"name":"a\\u0000b"}', "half a surrogate pair": b'{"name":"\\ud800"}',
            "a member that is not known": b'{"name":"a","is_admin":true}', "the wrong type": b'{"name":5}',
        }.items():
            self.row(group, what, send("POST", "/api/nodes", token=admin, body=body, headers=json_type), [422])
        for what, query in {"a limit that is no number": "limit=many", "a negative limit": "limit=-1",
                            "a limit beyond 64 bits": "limit=99999999999999999999", "a broken percent sign": "limit=%zz",
                            "a cursor from elsewhere": "cursor=evil"}.items():
            self.row(group, what, send("GET", f"/api/audit?{query}", token=admin), [422])
        self.row(group, "a word that is none of those possible", send("GET", "/api/commands?state=odd", token=admin), [422])
        self.row(group, "a time that is none", send("GET", f"/api/nodes/{self.stage.node}/resources?since=yesterday",
                                                    token=admin), [422])
        refused = lambda received, closed: closed and (b" 400 " in received[:20] or not received)
        self.raw(group, "garbage instead of HTTP", bytes(range(256)) * 8, refused)
        self.raw(group, "a TLS hello on the plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 32, refused)
        self.raw(group, "the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                 lambda received, closed: b" 4" in received[:12] or b" 5" in received[:12] or closed)
        self.raw(group, "a version that does not exist", b"GET / HTTP/9.9\r\n\r\n", refused)
        for method in ("TRACE", "CONNECT", "PROPFIND"):
            target = "/api/nodes" if method != "CONNECT" else "evil.example:443"
            self.raw(group, f"`{method}`", f"{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode(),
                     lambda received, closed: b" 40" in received[:14])

    def slow(self):
        group = "Slow"
        admin = self.tokens["admin"]
        closed_only = lambda received, closed: closed
        self.raw(group, "a connection that says nothing", b"", closed_only, seconds=40)
        self.raw(group, "a request's head, a byte a second", b"GET /healthz HTT", closed_only, seconds=40,
                 chunks=[b"P"] * 40, pause=1)
        head = f"POST /api/nodes HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {admin}\r\nContent-Length: 1000\r\n\r\n"
        self.raw(group, "a body, a byte a second", head.encode(),
                 lambda received, closed: b" 408 " in received[:20] and closed, seconds=50, chunks=[b"x"] * 45, pause=1)

    def floods(self):
        send, group = self.stage.send, "Too many"
        address = {"X-Forwarded-For": "198.51.100.7"}
        for _ in range(11):
            answer = send("POST", "/api/session", body={"token": "op_wrong"}, headers=address)
        self.row(group, "the 11th wrong sign-in of one address", answer, [429], "Retry-After" in answer.headers)
        answer = send("POST", "/api/session", body={"token": self.tokens["viewer"]}, headers={"X-Forwarded-For": "198.51.100.8"})
        self.row(group, "a good one from its neighbour", answer, [201])
        for _ in range(61):
            answer = send("GET", "/api/version", token="op_wrong", headers={"X-Forwarded-For": "198.51.100.9"})
        self.row(group, "the 61st wrong token of one address", answer, [429])
        for _ in range(11):
            answer = send("POST", "/edge/v1/enroll", body={"code": "AAAA-AAAA-AAAA", "request_id": "12345678"},
                          headers={"X-Forwarded-For": "198.51.100.10"})
        self.row(group, "the 11th wrong enrollment code of one address", answer, [429])
        import http.client
        open_streams = []
        try:
            for _ in range(33):
                connection = http.client.HTTPConnection(*self.stage.address, timeout=20)
                connection.request("GET", "/api/events", headers={"Authorization": f"Bearer {self.tokens['operator2']}"})
                open_streams.append(connection)
                response = connection.getresponse()
            body = response.read() if response.status != 200 else b""
            from stage import Answer
            self.row(group, "the 33rd open stream of one operator", Answer(response.status, response.headers, body), [429])
        finally:
            for connection in open_streams:
                connection.close()


def run(stage, tokens, bot, with_slow=True):
    attempts = Attempts(stage, tokens, bot)
    if with_slow:
        attempts.slow()
    for each in (attempts.csrf, attempts.sessions, attempts.escalation, attempts.redirects, attempts.traversal,
                 attempts.injection, attempts.smuggling, attempts.oversized, attempts.malformed, attempts.floods):
        each()
    attempts.finish()
    alive = stage.send("GET", "/readyz")
    attempts.row("Afterwards", "the hub serves", alive, [200])
    return attempts.rows
