"""What the operator is told of webhooks that fail: by the log, and by a webhook of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import func, select
from standardwebhooks import Webhook as StandardWebhook

from broker.batches import new_id
from broker.errors import Conflict, Misconfigured
from broker.provision import OPERATOR, Provision
from broker.store.tables import BatchRow, DeliveryRow, EndpointRow, WorkspaceRow, table
from broker.store.workspaces import NewWorkspace, insert_workspaces
from tests.integration.net.servers import reply
from tests.integration.receiver import Post, Receiver
from tests.integration.running import Broker, StartBroker, StartWorker, in_base64, photograph, until

SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}
SECRET = "a-value-of-a-header-that-nobody-else-may-see"
QUERY = "a-value-of-a-query-that-nobody-else-may-see"
QUICK = ("0",) * 6
EVENTS = {"delivery.exhausted", "endpoint.failing"}
_deliveries, _endpoints, _batches = table(DeliveryRow), table(EndpointRow), table(BatchRow)


@pytest.fixture
async def operator() -> AsyncIterator[Receiver]:
    async with Receiver().listen() as receiver:
        yield receiver


async def announce(broker: Broker, receiver: Receiver) -> str:
    hook = {"endpoint": receiver.url(f"/hook?token={QUERY}"), "headers": {"X-Key": SECRET}}
    accepted = await broker.post({"type": "upscaler", "records": [SOURCE], "webhook": hook})
    return str(accepted["id"])


async def verified(broker: Broker, post: Post) -> Any:
    """What the operator is told, proven to come from us."""
    (secret,) = await Provision(broker.core.database, broker.core.vault).webhook_secrets(OPERATOR)
    return StandardWebhook(secret).verify(post.body, post.headers)


async def ended(broker: Broker, count: int) -> list[str]:
    """The states of the customers' deliveries, once so many have come to their end."""

    async def states() -> list[str] | None:
        found = select(_deliveries.c.state).where(_deliveries.c.batch_id.is_not(None), _deliveries.c.due.is_(None))
        rows = await broker.store.rows(found.order_by(_deliveries.c.id))
        return [row.state for row in rows] if len(rows) >= count else None

    return await until(states)


async def test_operator_is_told_of_failing_exhausted_recovered_and_disabled(
    broker: Broker, start_worker: StartWorker, receiver: Receiver, operator: Receiver
) -> None:
    receiver.answers = [*[reply(500)] * 6, reply(200), reply(410)]
    await start_worker(webhook_schedule=QUICK, operator_webhook=operator.url("/ops"))
    batches = []
    for count in (1, 2, 3):
        batches.append(await announce(broker, receiver))
        await ended(broker, count)
    assert await ended(broker, 3) == ["exhausted", "delivered", "stopped"]
    posts = await operator.posted(4)
    told = {event["type"]: event for event in [await verified(broker, post) for post in posts]}
    assert sorted(told) == ["delivery.exhausted", "endpoint.disabled", "endpoint.failing", "endpoint.recovered"]
    row = await broker.store.row(select(_endpoints).where(_endpoints.c.workspace_id == broker.tenant.workspace))
    details = {
        "endpoint.failing": ("4 tries in a row failed", 4, batches[0]),
        "delivery.exhausted": ("answered 500", 6, batches[0]),
        "endpoint.recovered": (None, 0, batches[1]),
        "endpoint.disabled": ("it answered 410 Gone", 0, batches[2]),
    }
    for kind, (reason, failures, batch) in details.items():
        delivery = await broker.store.row(select(_deliveries.c.id).where(_deliveries.c.batch_id == batch))
        assert told[kind]["data"] == {
            "workspace": broker.tenant.workspace,
            "endpoint": row.id,
            "origin": receiver.url(""),
            "reason": reason,
            "failures": failures,
            "delivery": delivery.id,
            "batch": batch,
        }
    assert not any(word.encode() in post.body for post in posts for word in (SECRET, QUERY))
    assert {post.target for post in posts} == {"/ops"}
    assert row.state == "disabled"


async def test_events_are_logged_whether_or_not_there_is_an_operator_webhook(
    broker: Broker, start_worker: StartWorker, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    receiver.answers = [reply(500)]
    await start_worker(webhook_schedule=QUICK)
    batch = await announce(broker, receiver)
    told: dict[str, Any] = {}

    async def both() -> bool:
        """They are logged once what they tell of is committed."""
        lines = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
        told.update({line["event"]: line for line in lines if line["event"] in EVENTS})
        return told.keys() == EVENTS

    await until(both)
    await ended(broker, 1)
    assert {(line["batch"], line["workspace"], line["level"]) for line in told.values()} == {
        (batch, broker.tenant.workspace, "warning")
    }
    assert [line["failures"] for line in told.values()] == [4, 6]
    none = select(func.count()).select_from(_deliveries).where(_deliveries.c.batch_id.is_(None))
    assert (await broker.store.row(none))[0] == 0


async def test_operator_is_told_in_the_end_though_its_own_receiver_fails_and_not_of_that(
    broker: Broker, start_worker: StartWorker, receiver: Receiver, operator: Receiver
) -> None:
    receiver.answers = [*[reply(500)] * 5, reply(200)]
    operator.answers = [*[reply(500)] * 5, reply(200)]
    await start_worker(webhook_schedule=QUICK, operator_webhook=operator.url())
    await announce(broker, receiver)
    await ended(broker, 1)

    async def both() -> bool:
        told = [post.json()["type"] for post in operator.posts[5:]]
        return sorted(told) == ["endpoint.failing", "endpoint.recovered"]

    await until(both)
    events = await broker.store.rows(select(_deliveries.c.event).where(_deliveries.c.batch_id.is_(None)))
    assert sorted(row.event for row in events) == ["endpoint.failing", "endpoint.recovered"]


async def test_processes_of_one_operator_share_its_workspace(
    broker: Broker, start_worker: StartWorker, operator: Receiver
) -> None:
    for _ in range(2):
        await start_worker(operator_webhook=operator.url())
    workspaces = table(WorkspaceRow)
    rows = await broker.store.rows(select(workspaces.c.name))
    assert sorted(row.name for row in rows) == ["default", OPERATOR]


async def test_nobody_gets_the_operator_s_webhooks_by_the_name_of_a_workspace(
    broker: Broker, start_worker: StartWorker, operator: Receiver
) -> None:
    with pytest.raises(Conflict, match="'operator' is reserved"):
        await Provision(broker.core.database, broker.core.vault).workspace("operator")
    await broker.core.database.writer.write(insert_workspaces, NewWorkspace(new_id(), "operator", b"theirs"))
    with pytest.raises(Misconfigured, match="'operator' was not made by this service"):
        await start_worker(operator_webhook=operator.url())


@pytest.mark.parametrize("url", ["nowhere", "ftp://example.com/", "http://10.0.0.1/", "http://user:word@example.com/"])
async def test_nothing_starts_with_an_operator_webhook_that_could_never_be_sent(
    start_broker: StartBroker, start_worker: StartWorker, url: str
) -> None:
    for start in (start_broker, start_worker):
        with pytest.raises(Misconfigured, match="BROKER_OPERATOR_WEBHOOK: "):
            await start(operator_webhook=url)
