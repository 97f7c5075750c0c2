"""Tokens, codes and cookies stand in no log, audit entry, event, list, error or file of the hub after they were made."""

import subprocess


def surfaces(stage, admin):
    for log in stage.logs:
        yield log.name, log.read_bytes()
    lists = ["/api/audit?limit=500", "/api/events?limit=500", "/api/nodes?limit=500", "/api/bots?limit=500",
             "/api/enrollments?limit=500", "/api/operators?limit=500", "/api/tokens?limit=500",
             "/api/commands?limit=500", "/metrics", "/api/version", "/api/openapi.json", "/", "/login"]
    operators = stage.send("GET", "/api/operators?limit=500", token=admin).json["items"]
    lists += [f"/api/operators/{each['id']}/tokens" for each in operators]
    nodes = stage.send("GET", "/api/nodes?limit=500", token=admin).json["items"]
    lists += [f"/api/nodes/{each['id']}" for each in nodes]
    for path in lists:
        answer = stage.send("GET", path, token=admin)
        assert answer.status == 200, (path, answer.status)
        yield path, answer.body
    for path in ("hub.sqlite", "hub.sqlite-wal", "hub.json"):
        file = stage.data / path
        if file.exists():
            yield f"the hub's {path}", file.read_bytes()


def errors(stage, secrets):
    """Errors that answer requests which hold the secrets."""
    for name, secret in secrets.items():
        for method, path, body in [("GET", f"/api/nodes/{secret}x", None), ("POST", "/api/session", {"token": secret + "x"}),
                                   ("POST", "/edge/v1/enroll", {"code": secret, "request_id": "12345678"}),
                                   ("GET", "/edge/v1/whoami", None)]:
            # A path is the sender's own text and is told back; what must not come back is a credential as such.
            if "/nodes/" in path:
                continue
            answer = stage.send(method, path, token=secret + "x" if path.endswith("whoami") else None, body=body)
            yield f"the error of {method} {path.split('?')[0]} with {name}", answer.body


def run(stage, admin):
    wrong, looked = [], 0
    for place, content in [*surfaces(stage, admin), *errors(stage, stage.secrets)]:
        looked += 1
        for name, secret in stage.secrets.items():
            if secret.encode() in content:
                wrong.append(f"{name} stands in {place}")
    return wrong, looked


def promtool(stage, token):
    """What `promtool check metrics` has to say."""
    metrics = stage.send("GET", "/metrics", token=token)
    done = subprocess.run(["promtool", "check", "metrics"], input=metrics.body, capture_output=True)
    families = metrics.body.count(b"# TYPE ")
    if done.returncode or done.stderr.strip():
        return [f"promtool: {(done.stderr or done.stdout).decode().strip()}"], families
    return [], families
