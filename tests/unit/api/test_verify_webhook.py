"""The check that the page tells customers to copy accepts what we sign, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from broker.api.samples import verify_webhook
from broker.api.samples.verify_webhook import verify
from broker.secrets import new_webhook_secret
from broker.webhooks.signing import signed_headers

BODY = b'{"status":"DONE"}'
OLD, NEW = new_webhook_secret(), new_webhook_secret()


def headers(*secrets: str, age: int = 0) -> dict[str, str]:
    return dict(signed_headers(secrets, "msg_1", int(time.time()) - age, BODY))


def test_a_genuine_webhook_is_accepted() -> None:
    assert verify(NEW, headers(NEW), BODY)


@pytest.mark.parametrize("secret", [OLD, NEW], ids=["the old one", "the new one"])
def test_either_secret_is_good_during_a_rotation(secret: str) -> None:
    assert verify(secret, headers(NEW, OLD), BODY)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", "msg_2"),
        ("webhook-timestamp", "1700000000"),
        ("webhook-signature", ""),
        ("webhook-signature", "v1,é"),
    ],
)
def test_a_changed_header_is_refused(name: str, value: str) -> None:
    assert not verify(NEW, {**headers(NEW), name: value}, BODY)


def test_a_timestamp_that_was_not_signed_is_refused() -> None:
    sent = headers(NEW)
    assert not verify(NEW, {**sent, "webhook-timestamp": str(int(sent["webhook-timestamp"]) - 1)}, BODY)


def test_another_body_is_refused() -> None:
    assert not verify(NEW, headers(NEW), BODY + b" ")


def test_another_secret_is_refused() -> None:
    assert not verify(NEW, headers(OLD), BODY)


def test_a_replay_after_an_hour_is_refused() -> None:
    assert not verify(NEW, headers(NEW, age=3600), BODY)


def test_it_is_short_enough_to_copy() -> None:
    _, _, function = Path(verify_webhook.__file__).read_text().partition("def ")
    assert len(function.splitlines()) <= 10
