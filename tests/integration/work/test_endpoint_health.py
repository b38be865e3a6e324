"""Endpoints as their workspace sees them while a real worker sends to a real receiver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import func, select, update

from broker.store.tables import DeliveryRow, EndpointRow, table
from tests.integration.net.servers import reply
from tests.integration.receiver import Receiver
from tests.integration.running import Broker, StartWorker, Worker, in_base64, photograph, until

PATH = "/api/endpoints"
SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}
LATER = 253_402_300_000_000
_deliveries, _endpoints = table(DeliveryRow), table(EndpointRow)


@pytest.fixture
async def admin(broker: Broker) -> Broker:
    """Speaks with a token that may do everything."""
    token = await broker.store.token("default", ["submit", "read", "admin"])
    broker.http.headers["Authorization"] = f"Token {token}"
    return broker


async def announce(broker: Broker, url: str) -> None:
    await broker.post({"type": "upscaler", "records": [SOURCE], "webhook": {"endpoint": url}})


async def endpoint(broker: Broker) -> dict[str, Any]:
    """The only one."""
    (found,) = (await broker.http.get(PATH)).json()["results"]
    shown: dict[str, Any] = found
    return shown


async def standing(broker: Broker, **wanted: Any) -> dict[str, Any]:
    """The endpoint, once it stands as wanted."""

    async def stands() -> dict[str, Any] | None:
        if (await broker.http.get(PATH)).json()["count"] == 0:
            return None
        found = await endpoint(broker)
        return found if {name: found[name] for name in wanted} == wanted else None

    return await until(stands)


async def states(broker: Broker) -> Sequence[str]:
    return [row.state for row in await broker.store.rows(select(_deliveries.c.state).order_by(_deliveries.c.id))]


async def test_endpoint_is_failing_after_four_failures_and_recovers(
    admin: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    receiver.answers = [*[reply(500)] * 4, reply(200)]
    await start_worker(webhook_schedule=("0", "0", "0", "0", "3600"))
    await announce(admin, receiver.url("/hook?token=hush"))
    failing = await standing(admin, state="failing")
    assert (failing["url"], failing["failures"], failing["pending"]) == (receiver.url(), 4, 1)
    assert failing["reason"] == "4 tries in a row failed"
    assert failing["created"] <= failing["failing_since"] < failing["since"]
    assert (failing["breaker"], failing["workspace"]) == ("closed", admin.tenant.workspace)

    await admin.store.change(update(_deliveries).values(due=1))
    recovered = await standing(admin, state="healthy")
    assert (recovered["reason"], recovered["failures"], recovered["pending"]) == (None, 0, 0)
    assert recovered["since"] > failing["since"]
    assert recovered["id"] == failing["id"]


async def test_gone_endpoint_is_disabled_with_a_reason_and_sent_to_again_once_it_is_enabled(
    admin: Broker, worker: Worker, receiver: Receiver
) -> None:
    receiver.answers = [reply(410), reply(200)]
    await announce(admin, receiver.url())
    disabled = await standing(admin, state="disabled")
    assert (disabled["reason"], disabled["pending"]) == ("it answered 410 Gone", 0)
    assert disabled["since"] > disabled["created"]
    for _ in range(2):  # as many as it may have tries at once, as it answered
        await announce(admin, receiver.url())

    async def all_stopped() -> bool:
        return await states(admin) == ["stopped"] * 3

    await until(all_stopped)
    assert len(receiver.posts) == 1

    enabled = (await admin.http.post(f"{PATH}/{disabled['id']}/enable")).json()
    assert (enabled["state"], enabled["reason"], enabled["since"] > disabled["since"]) == ("healthy", None, True)
    await announce(admin, receiver.url())
    await receiver.posted(2)
    await standing(admin, pending=0)
    assert await states(admin) == ["stopped"] * 3 + ["delivered"]


async def test_what_is_held_back_behind_an_open_breaker_is_sent_as_soon_as_its_endpoint_is_enabled(
    admin: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    receiver.answers = [*[reply(500)] * 4, reply(200)]
    await start_worker(webhook_schedule=("0", "0", "0", "0"))
    await announce(admin, receiver.url())
    failing = await standing(admin, state="failing", pending=0)
    await admin.store.change(update(_endpoints).values(open_until=LATER))
    await announce(admin, receiver.url())

    async def held() -> bool:
        count = select(func.count()).select_from(_deliveries).where(_deliveries.c.held.is_not(None))
        return bool((await admin.store.row(count))[0] == 1)

    await until(held)
    open_now = await endpoint(admin)
    assert (open_now["breaker"], open_now["pending"], open_now["state"]) == ("open", 1, "failing")
    assert len(receiver.posts) == 4

    await admin.http.post(f"{PATH}/{failing['id']}/enable")
    await receiver.posted(5)
    await standing(admin, state="healthy", breaker="closed", pending=0)
