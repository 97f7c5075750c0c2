#!/usr/bin/env python3
"""Tests the API of a real hub with a real agent and bot: who may do what, what hostile senders get, whether secrets stay
secret, whether the metrics are well-formed, and whether the OpenAPI document is true (schemathesis).

usage: run.py [--programs DIR] [--examples N] [--only PART ...] [--write-table FILE]

Prints what is wrong and one line for each part; ends with 1 if anything is wrong.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import hostile  # noqa: E402
import matrix  # noqa: E402
import secrets_check  # noqa: E402
from stage import ROOT, Stage, wait  # noqa: E402

PARTS = ["matrix", "hostile", "contract", "secrets", "metrics"]
INTRODUCTION = """# What hostile senders get

Written by `make api-test TABLE=docs/api-hostile.md` from a real run: a hub, an agent and a bot on loopback, and every
line below sent to it. `make api-test` fails where an answer is another one. Plain HTTP, so that any bytes could be sent;
TLS changes none of it.
"""


def contract(stage, token, examples, ids):
    """Runs schemathesis; gives what it found, and its summary."""
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": str(HERE / "hooks.py"), "API_TEST_IDS": json.dumps(ids)}
    command = [
        str(pathlib.Path(sys.executable).parent / "schemathesis"), "run", f"{stage.url}/api/openapi.json",
        "--header", f"Authorization: Bearer {token}", "--header", "Accept: application/json",
        "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
                    "response_headers_conformance,negative_data_rejection,unsupported_method,ignored_auth",
        "--phases", "examples,coverage,fuzzing", "--max-examples", str(examples), "--seed", "1",
        "--request-timeout", "20", "--workers", "1", "--no-color", "--suppress-health-check", "all",
        "--continue-on-failure",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=stage.folder, timeout=1200)
    return done.returncode, done.stdout + done.stderr


def table(rows):
    lines = [INTRODUCTION]
    for group in dict.fromkeys(row.group for row in rows):
        lines += [f"## {group}", "", "| tried | answered |", "| --- | --- |"]
        lines += [f"| {row.what} | {row.answered} |" for row in rows if row.group == group]
        lines.append("")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / ".build" / "debug")
    parser.add_argument("--examples", type=int, default=10)
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--write-table", type=pathlib.Path)
    options = parser.parse_args()
    stage = Stage(options.programs.resolve(), pathlib.Path(tempfile.mkdtemp(prefix="api-test-")))
    wrong = []

    def report(part, found, line, began):
        for each in found:
            print(f"  {part}: {each}", flush=True)
        wrong.extend(found)
        print(f"api-test: {part}: {'ok' if not found else str(len(found)) + ' wrong'}, {line}, "
              f"{time.monotonic() - began:.1f} s", flush=True)

    try:
        stage.raise_hub()
        tokens = {role: stage.operator(f"the-{role}", role)["token"] for role in ("viewer", "operator", "admin")}
        tokens["operator2"] = stage.operator("operator2", "operator")["token"]
        tokens["wrong"] = "op_wrong"
        gone = stage.operator("gone", "admin")
        tokens["revoked"] = gone["token"]
        stage.send("DELETE", f"/api/operators/{gone['id']}", token=tokens["admin"])
        past = stage.send("POST", "/api/operators", token=tokens["admin"],
                          body={"name": "past", "role": "admin", "ttl_seconds": 1}).json
        tokens["expired"] = past["token"]
        stage.secrets["an expired token"] = past["token"]
        stage.pair(tokens["admin"])
        bot = stage.make_bot(tokens["admin"])
        stage.send("POST", f"/api/bots/{bot}/messages", token=tokens["operator"], body={"text": "hello"})
        wait("the short-lived token to be refused",
             lambda: stage.send("GET", "/api/nodes", token=tokens["expired"]).status == 401)
        if "matrix" in options.only:
            began = time.monotonic()
            document = stage.send("GET", "/api/openapi.json").json
            found, count = matrix.run(stage, tokens, document)
            calls = sum(1 for _ in matrix.calls(document))
            report("matrix", found, f"{calls} calls, {count} requests", began)
        if "hostile" in options.only:
            began = time.monotonic()
            rows = hostile.run(stage, tokens, bot)
            found = [f"{row.group}: {row.what}: {row.answered}" for row in rows if not row.good]
            if options.write_table:
                options.write_table.write_text(table(rows))
            report("hostile", found, f"{len(rows)} attempts", began)
        if "metrics" in options.only:
            began = time.monotonic()
            found, families = secrets_check.promtool(stage, tokens["viewer"])
            report("metrics", found, f"{families} families", began)
        if "secrets" in options.only:
            began = time.monotonic()
            found, looked = secrets_check.run(stage, tokens["admin"])
            report("secrets", found, f"{len(stage.secrets)} secrets in {looked} places", began)
        if "contract" in options.only:
            # Last: it deletes what it can.
            began = time.monotonic()
            command = stage.send("GET", "/api/commands?limit=1", token=tokens["admin"]).json["items"][0]["id"]
            ids = {"bots": bot, "nodes": stage.node, "commands": command}
            code, output = contract(stage, tokens["admin"], options.examples, ids)
            if code:
                print(output)
            summary = [line.strip() for line in output.splitlines() if " generated, " in line or "Tested:" in line]
            report("contract", [f"schemathesis ended with {code}"] if code else [], "; ".join(summary), began)
    finally:
        if wrong:
            print(stage.logs[0].read_text(errors="replace")[-3000:])
        stage.strike()
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
