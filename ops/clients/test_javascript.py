"""Replicate's client for JavaScript."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest
from standardwebhooks import Webhook

HERE = pathlib.Path(__file__).parent
TOOLS = pathlib.Path(os.environ["USO_CLIENT_TOOLS"])

pytestmark = pytest.mark.skipif(
    not shutil.which("node") or not (TOOLS / "node_modules/replicate").is_dir(),
    reason="SKIPPED: clients: Node and the package replicate cannot be had",
)


def test_the_javascript_client_draws_streams_cancels_and_is_told(fleet, star, endpoint):
    command = ["node", HERE / "replicate.mjs", fleet.url, fleet.key, star, endpoint.url]
    run = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert (seen["picture"], seen["polled"], seen["canceled"]) == ("PNG", "PNG", "canceled")
    assert seen["events"][-2:] == ["output", "done"] and "logs" in seen["events"]
    assert "/input/steps: 0 is not within 1 to 100" in seen["refused"]
    headers, body = endpoint.message()
    told = Webhook(seen["secret"]).verify(body, {name.lower(): value for name, value in headers.items()})
    assert (told["id"], told["status"]) == (seen["told"], "succeeded")
