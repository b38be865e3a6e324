"""Types that no worker serves are told of; a backlog and a pause are not that."""

from __future__ import annotations

from sqlalchemy import update
from structlog.testing import capture_logs

from broker.store.tables import BatchRow, WorkspaceRow, table
from broker.work.unserved import Unserved
from tests.integration.running import Broker

BODY = {"type": "upscaler", "records": [{"_url": "https://images.example.com/a.jpg"}]}
_batches = table(BatchRow)


async def told(broker: Broker) -> list[tuple[str, str]]:
    """(type, batch) of what the operator is warned of."""
    with capture_logs() as logs:
        await Unserved(broker.core.database).once()
    return [(line["type"], line["batch"]) for line in logs if line["event"] == "type.unserved"]


async def test_type_whose_batches_nobody_takes_is_told_once_with_its_first_batch(broker: Broker) -> None:
    ids = [(await broker.post(BODY))["id"] for _ in range(4)]
    assert await told(broker) == []
    await broker.store.change(update(_batches).values(due=0))
    for id, type in zip(ids[2:], ("elder", "young"), strict=True):
        await broker.store.change(update(_batches).where(_batches.c.id == id).values(type=type))
    await broker.store.change(update(_batches).where(_batches.c.type == "young").values(due=_batches.c.created))
    assert await told(broker) == [("elder", ids[2]), ("upscaler", ids[0])]


async def test_type_that_a_worker_is_busy_with_is_not_told(broker: Broker) -> None:
    ids = [(await broker.post(BODY))["id"] for _ in range(2)]
    await broker.store.change(update(_batches).values(due=0))
    held = {"status": "PROCESSING", "lease_owner": "w", "lease_until": 2**50}
    await broker.store.change(update(_batches).where(_batches.c.id == ids[0]).values(**held))
    assert await told(broker) == []


async def test_batches_of_a_paused_workspace_are_not_told(broker: Broker) -> None:
    await broker.post(BODY)
    await broker.store.change(update(_batches).values(due=0))
    await broker.store.change(update(table(WorkspaceRow)).values(paused=True))
    assert await told(broker) == []
