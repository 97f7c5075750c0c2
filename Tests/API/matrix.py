"""Every call of the document × every role × no credential, a wrong, a withdrawn and an expired one × sessions."""

RANK = {"viewer": 0, "operator": 1, "admin": 2}
# Ends the session it comes with, so it is tried by itself.
SIGN_OUT = ("delete", "/api/session")


def calls(document):
    for path, operations in sorted(document["paths"].items()):
        for method, operation in sorted(operations.items()):
            yield method.upper(), path, operation.get("x-role"), operation


def address(path):
    return "/".join("x" if part.startswith("{") else part for part in path.split("/"))


def judge(role, least):
    return RANK[role] >= RANK[least]


def run(stage, tokens, document):
    """Gives lines that are wrong, and how many requests were made."""
    wrong, count = [], 0
    for bad in ("revoked", "expired"):
        assert tokens[bad]
    sessions = {role: stage.sign_in(tokens[role]) for role in RANK}
    other_cookie, other_csrf = stage.sign_in(tokens["operator2"])

    def check(name, answer, expected):
        nonlocal count
        count += 1
        if not expected(answer):
            wrong.append(f"{name}: {answer.status} {answer.code or ''}")

    for method, path, least, _ in calls(document):
        where = address(path)
        name = f"{method} {path}"
        if least is None:
            check(f"{name} without a credential", stage.send(method, where), lambda a: a.status not in (403, 500))
            continue
        check(f"{name} without a credential", stage.send(method, where), lambda a: a.status == 401)
        for bad in ("wrong", "revoked", "expired"):
            check(f"{name} with a token that is {bad}", stage.send(method, where, token=tokens[bad]),
                  lambda a: a.status == 401 and a.code == "unauthenticated")
        for role in RANK:
            allowed = judge(role, least)

            def fits(answer, allowed=allowed):
                if answer.status >= 500:
                    return False
                return answer.status not in (401, 403) if allowed else answer.status == 403 and answer.code == "forbidden"

            check(f"{name} as {role}", stage.send(method, where, token=tokens[role]), fits)
            if (method.lower(), path) == SIGN_OUT:
                continue
            cookie, csrf = sessions[role]
            both = {"Cookie": cookie, "X-CSRF-Token": csrf}
            check(f"{name} in a session of {role}", stage.send(method, where, headers=both), fits)
            if method == "GET":
                continue
            for what, headers in {
                "without the CSRF token": {"Cookie": cookie},
                "with another's CSRF token": {"Cookie": cookie, "X-CSRF-Token": other_csrf},
                "with another's cookie": {"Cookie": other_cookie, "X-CSRF-Token": csrf},
            }.items():
                check(f"{name} in a session of {role} {what}", stage.send(method, where, headers=headers),
                      lambda a: a.status == 403 and a.code == "csrf_token_missing")
    cookie, csrf = sessions["viewer"]
    ended = stage.send("DELETE", "/api/session", headers={"Cookie": cookie, "X-CSRF-Token": csrf})
    check("signing out", ended, lambda a: a.status == 204)
    check("a session that was signed out of", stage.send("GET", "/api/session", headers={"Cookie": cookie}),
          lambda a: a.status == 401)
    return wrong, count
