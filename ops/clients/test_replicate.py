"""Replicate's client for Python, which knows nothing of us but an address and a key."""

import json

import pytest
import replicate
from replicate.exceptions import ReplicateError
from replicate.helpers import FileOutput
from replicate.webhook import Webhooks
from standardwebhooks import Webhook

MODEL = "uso/mini"
INPUT = {"prompt": "a blue square in the centre on a sandy beach", "seed": 102, "steps": 4}
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def client(fleet):
    return replicate.Client(api_token=fleet.key, base_url=fleet.url)


def slow(**more):
    return {**INPUT, "steps": 100, "width": 256, "height": 256, **more}


def test_run_gives_the_picture(client):
    output = client.run(MODEL, input=INPUT)
    assert [type(file) for file in output] == [FileOutput]
    assert output[0].read().startswith(PNG)


def test_run_of_a_version_gives_the_same_picture(client):
    model = client.models.get(MODEL)
    version = model.latest_version
    assert model.versions.get(version.id).id == version.id == model.versions.list().results[0].id
    one, other = client.run(MODEL, input=INPUT), client.run(f"{MODEL}:{version.id}", input=INPUT)
    assert one[0].read() == other[0].read()


def test_who_does_not_wait_polls_and_sees_progress(client):
    prediction = client.predictions.create(client.models.get(MODEL).latest_version, slow())
    assert prediction.status == "starting" and prediction.output is None
    seen = set()
    while prediction.status not in ("succeeded", "failed", "canceled"):
        prediction.reload()
        if prediction.progress:
            seen.add(prediction.progress.current)
    assert prediction.status == "succeeded" and len(seen) > 1, seen
    assert prediction.progress.percentage == 1.0
    assert prediction.metrics["predict_time"] > 0
    assert prediction.id in [one.id for one in client.predictions.list().results]


def test_a_prediction_is_canceled(client):
    prediction = client.models.predictions.create(MODEL, {**slow(), "class": "bulk"})
    prediction.cancel()
    prediction.wait()
    assert prediction.status == "canceled"


@pytest.mark.parametrize("strategy", ["url", "base64"])
def test_a_file_is_a_reference(client, star, strategy):
    with star.open("rb") as content:
        input = {**INPUT, "prompt": "the star is at the left on a green field", "content": content}
        output = client.run(MODEL, input=input, file_encoding_strategy=strategy)
    assert output[0].read().startswith(PNG)


def test_files_are_kept_and_forgotten(client, star):
    file = client.files.create(star)
    assert (file.name, file.content_type, file.size) == (star.name, "image/png", star.stat().st_size)
    assert client.files.get(file.id).etag == file.etag
    assert client.files.delete(file.id)
    with pytest.raises(ReplicateError, match="no such file"):
        client.files.get(file.id)


def test_a_stream_ends_with_the_picture(client):
    events = list(client.stream(MODEL, input=slow()))
    names = [event.event.value for event in events]
    assert names[-2:] == ["output", "done"] and "logs" in names, names
    assert events[-2].data.read().startswith(PNG)


def test_a_refusal_says_what_is_wrong(client):
    with pytest.raises(ReplicateError, match="/input/steps: 0 is not within 1 to 100"):
        client.run(MODEL, input={"steps": 0})
    with pytest.raises(ReplicateError, match="no such model"):
        client.run("somebody/else", input={})


def test_a_webhook_is_told_and_its_signature_holds(client, endpoint):
    prediction = client.models.predictions.create(
        MODEL, INPUT, webhook=endpoint.url, webhook_events_filter=["completed"]
    )
    headers, body = endpoint.message()
    secret = client.webhooks.default.secret()
    Webhooks.validate(headers=headers, body=body, secret=secret, tolerance=60)
    Webhook(secret.key).verify(body, {name.lower(): value for name, value in headers.items()})
    told = json.loads(body)
    assert (told["id"], told["status"]) == (prediction.id, "succeeded")
    # What it links to asks for the key.
    assert "signature" not in body
    assert client._client.get(told["output"][0]).content.startswith(PNG)
