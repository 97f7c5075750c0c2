"""What schemathesis must know of this API that the document cannot say."""

import json
import os

import schemathesis

# Ids of things that exist, by the part of the path before them.
REAL = json.loads(os.environ.get("API_TEST_IDS", "{}"))
# Calls after which the thing would be gone.
ENDING = ("/revoke",)


@schemathesis.hook
def filter_case(context, case):
    """A stream never ends; tests of streams are elsewhere."""
    return str((case.query or {}).get("follow", "false")).lower() != "true"


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Every other made-up id is one that exists, so that more than 404 is seen."""
    operation = context.operation
    if not path_parameters or operation.method.upper() == "DELETE" or operation.path.endswith(ENDING):
        return path_parameters
    parts = operation.path.split("/")
    kind = parts[2] if len(parts) > 2 else ""
    if kind in REAL and len(str(path_parameters.get("id", ""))) % 2 == 0:
        path_parameters["id"] = REAL[kind]
    return path_parameters
