"""What the fleet of docker-compose.yml must do: draw through the published port, and lose no step with a worker.

check.py PROJECT healthy SERVICE... waits for the health of services; check.py PROJECT samples generates a picture, with the address
of the API in USO_API.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

API = os.environ["USO_API"]
PROJECT, WHAT, *SERVICES = sys.argv[1:]
PATIENCE_S = 300
# Far larger than the bundled model was made for: long enough to stop its worker in the middle.
# So large that a worker cannot end a job of the most steps within its grace, on whatever machine.
SLOW = {"prompt": "a blue square in the centre on a sandy beach", "width": 640, "height": 640, "seed": 102}


def ask(path, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(API + path, data, {"content-type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def read(path, body=None, **headers):
    return json.loads(ask(path, body, **headers))


def until(what, seen):
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            found = seen()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            found = None
        if found:
            return found
        if time.monotonic() > end:
            sys.exit(f"compose: {what} did not happen within {PATIENCE_S} s")
        time.sleep(0.2)


def podman(*arguments):
    return subprocess.run(["podman", *arguments], check=True, capture_output=True, text=True).stdout


def containers(service):
    labels = [f"label=io.podman.compose.project={PROJECT}", f"label=com.docker.compose.service={service}"]
    return podman("ps", "-a", "-q", "--filter", labels[0], "--filter", labels[1]).split()


def is_healthy(container):
    # Where no system service runs health checks by the clock, they are run when somebody asks.
    return subprocess.run(["podman", "healthcheck", "run", container], capture_output=True).returncode == 0


def workers_ready():
    return sum(worker["state"] == "ready" for worker in read("/v1/workers")["workers"]) == 2


def ended(job):
    view = read(f"/v1/jobs/{job}")
    return view if view["state"] not in ("queued", "running") else None


def healthy(services):
    for service in services:
        for container in containers(service) or sys.exit(f"compose: {service} has no container"):
            until(f"the health of {service}", lambda: is_healthy(container))
            restarts = podman("inspect", "--format", "{{.RestartCount}}", container).strip()
            assert restarts == "0", f"{service} was restarted {restarts} times"
    print(f"compose: healthy without a restart: {', '.join(services)}")


def samples():
    until("the readiness of two workers", workers_ready)
    drawn = read("/v1/jobs", {"prompt": SLOW["prompt"], "seed": SLOW["seed"], "format": "png"}, prefer="wait=30")
    job = drawn["id"]
    until("the end of the first job", lambda: ended(job))
    picture = ask(f"/v1/jobs/{job}/result")
    assert picture[:8] == b"\x89PNG\r\n\x1a\n", "the result is no PNG"
    print(f"compose: a picture of {len(picture)} bytes came through the published ports")

    steps = read("/v1/capabilities")["limits"]["steps"][1]
    job = read("/v1/jobs", {**SLOW, "steps": steps})["id"]

    def holder():
        if read(f"/v1/jobs/{job}")["step"] < 3:
            return None
        return next((worker for worker in read("/v1/workers")["workers"] if job in worker["jobs"]), None)

    worker = until("the job's third step", holder)
    # A container is called by its id inside. A worker that is asked once to stop may end the job within its grace; one
    # that is asked twice hands it back.
    podman("kill", "--signal", "TERM", worker["host"])
    podman("stop", "-t", "120", worker["host"])
    view = until("the end of the job", lambda: ended(job))
    assert view["state"] == "succeeded", view
    receipt = view["output"]["receipt"]
    told = {name: receipt.get(name) for name in ("resumed_from", "steps", "attempts")}
    assert receipt["resumed_from"], f"the other worker began anew: {told}"
    assert receipt["resumed_from"] + receipt["steps"] == steps, f"steps were done twice: {told}"
    assert receipt["attempts"] == 1, told
    print(f"compose: a worker was stopped in mid-job; the other went on from step {receipt['resumed_from']} of {steps}")


if WHAT == "healthy":
    healthy(SERVICES)
else:
    samples()
