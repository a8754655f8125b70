"""Standard Webhooks' own library checks what endpoints are sent."""

import json

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError


@pytest.fixture
def api(fleet):
    with httpx.Client(base_url=fleet.plain, headers={"authorization": f"Bearer {fleet.key}"}) as api:
        yield api


def lower(headers):
    return {name.lower(): value for name, value in headers.items()}


def test_an_endpoints_signatures_hold_before_and_after_its_secret_changes(api, endpoint):
    made = api.post("/v1/webhooks", json={"url": endpoint.url, "events": ["job.canceled"]}).json()
    job = api.post("/v1/jobs", json={"prompt": "a star", "not_before": "2040-01-01T00:00:00Z"}).json()
    api.post(f"/v1/jobs/{job['id']}/cancel")
    headers, body = endpoint.message()
    told = Webhook(made["secret"]).verify(body, lower(headers))
    assert (told["type"], told["data"]["id"]) == ("job.canceled", job["id"])
    assert told["data"]["links"]["self"].startswith("https://")
    with pytest.raises(WebhookVerificationError):
        Webhook(made["secret"]).verify(body.replace("canceled", "succeeded"), lower(headers))

    rotated = api.post(f"/v1/webhooks/{made['id']}/rotate").json()
    deliveries = api.get(f"/v1/webhooks/{made['id']}/deliveries").json()["deliveries"]
    api.post(f"/v1/webhooks/{made['id']}/deliveries/{deliveries[0]['id']}/replay")
    headers, again = endpoint.message()
    assert json.loads(again) == json.loads(body)
    for secret in (made["secret"], rotated["secret"]):
        Webhook(secret).verify(again, lower(headers))
    assert api.delete(f"/v1/webhooks/{made['id']}").status_code == 204


def test_a_jobs_own_address_is_told_signed_with_the_tenants_secret(api, endpoint):
    job = api.post("/v1/jobs", json={"prompt": "a star", "steps": 2, "webhook": endpoint.url}).json()
    headers, body = endpoint.message()
    secret = api.get("/v1/webhooks/default/secret").json()["key"]
    told = Webhook(secret).verify(body, lower(headers))
    assert (told["type"], told["data"]["id"]) == ("job.succeeded", job["id"])
