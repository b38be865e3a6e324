"""Webhooks while a signing secret is replaced, captured as they arrive and verified by the field's own libraries."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select, update
from standardwebhooks import Webhook as StandardWebhook
from standardwebhooks import WebhookVerificationError
from svix.webhooks import Webhook as SvixWebhook
from svix.webhooks import WebhookVerificationError as SvixVerificationError

from broker.secrets import new_webhook_secret
from broker.store.tables import WorkspaceRow, table
from broker.webhooks.keys import open_secrets, seal_secrets
from broker.webhooks.signing import Kind, verifier_of, verify
from tests.integration.receiver import Post, Receiver
from tests.integration.running import Broker, StartWorker, Worker, in_base64, photograph, until

SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}
WORKSPACES = table(WorkspaceRow)


async def announce(broker: Broker, receiver: Receiver) -> Post:
    """The webhook of a new batch."""
    count = len(receiver.posts) + 1
    await broker.post({"type": "upscaler", "records": [SOURCE], "webhook": {"endpoint": receiver.url()}})
    return (await receiver.posted(count))[-1]


async def rotate(broker: Broker, kind: Kind = Kind.SYMMETRIC) -> str:
    """What receivers verify with from now on."""
    newest, *_ = await broker.web.rotate(broker.tenant.workspace, kind)
    return verifier_of(newest.secret)


async def end_grace(broker: Broker) -> None:
    """As if a day had passed since every rotation: what signs along has signed for the last time."""
    core, workspace = broker.core, broker.tenant.workspace
    row = await broker.store.row(select(WORKSPACES.c.secrets).where(WORKSPACES.c.id == workspace))
    secrets = [one if one.until is None else replace(one, until=1) for one in open_secrets(core.vault, row.secrets)]
    box = seal_secrets(core.vault, secrets)
    assert await broker.store.change(update(WORKSPACES).where(WORKSPACES.c.id == workspace).values(secrets=box)) == 1


def accepted(post: Post, secret: str) -> bool:
    """Whether a webhook passes with a shared secret. Fails unless `standardwebhooks`, `svix` and we agree."""
    ours = verify([secret], post.headers, post.body, time.time())
    assert ours is _passes(post, StandardWebhook(secret), WebhookVerificationError)
    assert ours is _passes(post, SvixWebhook(secret), SvixVerificationError)
    return ours


def _passes(post: Post, library: StandardWebhook | SvixWebhook, refusal: type[Exception]) -> bool:
    try:
        library.verify(post.body, post.headers)
    except refusal:
        return False
    return True


def versions(post: Post) -> Sequence[str]:
    return [entry.partition(",")[0] for entry in post.headers["webhook-signature"].split(" ")]


async def test_old_and_new_secret_verify_during_a_rotation_and_neither_old_one_after_it(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    first = broker.tenant.secret
    second, third = await rotate(broker), await rotate(broker)
    worker = await start_worker()
    during = await announce(broker, receiver)
    assert versions(during) == ["v1", "v1", "v1"]
    assert [accepted(during, secret) for secret in (third, second, first)] == [True] * 3
    assert not accepted(during, new_webhook_secret())

    await worker.stop()
    await end_grace(broker)
    await start_worker()  # that has not looked yet
    after = await announce(broker, receiver)
    assert versions(after) == ["v1"]
    assert [accepted(after, secret) for secret in (third, second, first)] == [True, False, False]


async def test_the_libraries_refuse_what_was_changed_on_the_way(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    second = await rotate(broker)
    await start_worker()
    post = await announce(broker, receiver)
    headers = dict(post.headers)
    stale = str(int(headers["webhook-timestamp"]) - 1)
    for changed in (
        replace(post, body=post.body + b" "),
        replace(post, raw_headers=tuple((headers | {"webhook-id": "another"}).items())),
        replace(post, raw_headers=tuple((headers | {"webhook-timestamp": stale}).items())),
        replace(post, raw_headers=tuple((headers | {"webhook-signature": "v1,AAAA"}).items())),
    ):
        assert [accepted(changed, secret) for secret in (second, broker.tenant.secret)] == [False, False]


async def test_a_running_worker_takes_a_rotation_over(broker: Broker, worker: Worker, receiver: Receiver) -> None:
    """It remembers secrets for a few seconds; the old one, which signs along, is good for all of that time."""
    before = await announce(broker, receiver)
    second = await rotate(broker)
    assert accepted(before, broker.tenant.secret)
    assert not accepted(before, second)

    async def taken_over() -> bool:
        post = await announce(broker, receiver)
        assert accepted(post, broker.tenant.secret)
        return accepted(post, second)

    await until(taken_over)


@pytest.mark.parametrize("kinds", [(Kind.ED25519,), (Kind.ED25519, Kind.SYMMETRIC)], ids=["newest", "old"])
async def test_a_key_pair_signs_beside_a_shared_secret(
    broker: Broker, start_worker: StartWorker, receiver: Receiver, kinds: Sequence[Kind]
) -> None:
    """The libraries know no key pair and must pass its entry over, which the public key verifies."""
    made = {kind: await rotate(broker, kind) for kind in kinds}
    await start_worker()
    post = await announce(broker, receiver)
    assert versions(post) == [*reversed(kinds), "v1"]
    for secret in (broker.tenant.secret, made.get(Kind.SYMMETRIC, broker.tenant.secret)):
        assert accepted(post, secret)
    public = made[Kind.ED25519]
    assert verify([public], post.headers, post.body, time.time())
    (signature,) = [entry[4:] for entry in post.headers["webhook-signature"].split(" ") if entry.startswith("v1a,")]
    signed = f"{post.headers['webhook-id']}.{post.headers['webhook-timestamp']}.".encode() + post.body
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    key.verify(base64.b64decode(signature), signed)
