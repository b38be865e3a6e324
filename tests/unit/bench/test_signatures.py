"""How benches judge the webhooks that come to them."""

from __future__ import annotations

import time

import pytest

from bench.signatures import EVERY, Signatures
from broker.webhooks.signing import signed_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"id":"a"}'


def message(secret: str = SECRET, body: bytes = BODY, name: str = "webhook-signature") -> bytes:
    headers = signed_headers([secret], "msg_1", int(time.time()), BODY)
    lines = [f"{name if key == 'webhook-signature' else key}: {value}" for key, value in headers.items()]
    return "\r\n".join(["POST /hook HTTP/1.1", *lines, "", ""]).encode() + body


def test_each_webhook_must_have_a_signature_and_one_in_a_hundred_is_verified() -> None:
    signatures = Signatures(SECRET)
    for _ in range(2 * EVERY + 1):
        signatures.look(message(name="Webhook-Signature"))
    assert (signatures.signed, signatures.unsigned) == (2 * EVERY + 1, 0)
    assert (signatures.verified, signatures.wrong) == (3, 0)


def test_a_webhook_without_a_signature_is_told_whatever_its_body_says() -> None:
    signatures = Signatures(SECRET)
    signatures.look(message(name="x-signature", body=b"\r\nwebhook-signature: v1,"))
    assert (signatures.signed, signatures.unsigned) == (0, 1)


@pytest.mark.parametrize(("secret", "body"), [("whsec_AAAA", BODY), (SECRET, b'{"id":"b"}')])
def test_a_signature_of_another_secret_or_body_is_wrong(secret: str, body: bytes) -> None:
    signatures = Signatures(SECRET)
    signatures.look(message(secret, body))
    assert (signatures.verified, signatures.wrong) == (0, 1)
