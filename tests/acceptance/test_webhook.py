"""The webhook as its receiver gets it, verified with the reference library of Standard Webhooks."""

from __future__ import annotations

import json

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.acceptance.broker import Up, as_base64
from tests.acceptance.receiver import Receiver


def secret_of(up: Up) -> str:
    shown = up.commands.with_environment(BROKER_DATA_DIR=str(up.folder)).run("webhook-secret", "show")
    assert shown.code == 0, shown.err
    return shown.out.split()[0]


def test_it_is_signed_and_carries_the_customers_header_and_is_tried_again(up: Up, receiver: Receiver) -> None:
    receiver.statuses.append(503)
    webhook = {"endpoint": f"{receiver.url}/hook?secret=1", "headers": {"X-Customer": "my own"}}
    id = up.api.submit(webhook=webhook)
    first, second = receiver.next(), receiver.next()
    verifier = Webhook(secret_of(up))
    for event in (first, second):
        assert event.path == "/hook?secret=1"
        assert event.headers["X-Customer"] == "my own"
        headers = {name.lower(): value for name, value in event.headers.items()}
        assert headers["content-type"] == "application/json"
        assert verifier.verify(event.body, headers) == json.loads(event.body)
        with pytest.raises(WebhookVerificationError):
            verifier.verify(event.body + b" ", headers)
    assert first.body == second.body
    body = json.loads(first.body)
    details = up.api.details(id)
    assert set(body) == {"id", "type", "status", "response"}
    assert (body["id"], body["type"], body["status"]) == (id, "upscaler", "DONE")
    assert [record["_id"] for record in body["response"]["records"]] == [
        record["_id"] for record in details["response"]["records"]
    ]


def test_a_private_address_beside_the_allowed_ones_is_refused_at_once(up: Up) -> None:
    source = up.api.post(type="upscaler", records=[{"_url": "http://10.0.0.1/x.jpg"}])
    assert source.status_code == 400
    assert source.json() == {"records": {"0": {"_url": ["Host 10.0.0.1 is not allowed."]}}}
    records = [{"_base64": as_base64()}]
    hook = up.api.post(type="upscaler", records=records, webhook={"endpoint": "http://169.254.169.254/"})
    assert hook.status_code == 400
    assert hook.json() == {"webhook": {"endpoint": ["Host 169.254.169.254 is not allowed."]}}
