"""Types that no worker serves are told of, and their batches wait unharmed; a backlog and a pause are not that."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from structlog.testing import capture_logs

from broker.bootstrap.caretakers import running
from broker.store.tables import BatchRow, ChoreRow, WorkspaceRow, table
from broker.work.unserved import Unserved
from tests.integration.running import Broker, StartBroker, StartWorker, in_base64, photograph, until

BODY = {"type": "upscaler", "records": [{"_url": "https://images.example.com/a.jpg"}]}
SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}
_batches = table(BatchRow)


async def told(broker: Broker) -> list[tuple[str, str]]:
    """(type, batch) of what the operator is warned of."""
    with capture_logs() as logs:
        await Unserved(broker.core.database).once()
    return warnings(logs)


def warnings(logs: Sequence[MutableMapping[str, Any]]) -> list[tuple[str, str]]:
    return [(line["type"], line["batch"]) for line in logs if line["event"] == "type.unserved"]


def looking(broker: Broker) -> AbstractAsyncContextManager[None]:
    """A process that looks, faster than once a minute."""
    return running(Unserved(broker.core.database, pause_seconds=0.02).run)


async def test_type_that_only_newer_workers_know_waits_unharmed_until_one_of_them_starts(
    hostile: Path, start_broker: StartBroker, start_worker: StartWorker
) -> None:
    """As in a rolling deploy: web accepts the type already, and workers of the last version are still there."""
    broker = await start_broker()
    await start_worker("hostile")
    id = (await broker.post({"type": "hostile-async", "endpoint": "echo", "records": [SOURCE]}))["id"]
    await broker.run("hostile", SOURCE, endpoint="echo")  # so the older worker has looked since
    mine = select(_batches).where(_batches.c.id == id)
    with capture_logs() as logs:
        async with looking(broker):
            await broker.store.change(update(_batches).where(_batches.c.id == id).values(due=0))

            async def warned() -> list[tuple[str, str]]:
                return warnings(logs)

            assert await until(warned) == [("hostile-async", id)]
    batch = await broker.store.row(mine)
    assert (batch.status, batch.lease_seq, batch.crashes) == ("CREATED", 0, 0)
    await start_worker("hostile-async")
    await broker.done(id)
    assert (await broker.store.row(mine)).outcome == "succeeded"
    assert await told(broker) == []


async def test_one_process_of_the_fleet_warns_and_again_when_it_is_time(broker: Broker) -> None:
    await broker.post(BODY)
    await broker.store.change(update(_batches).values(due=0))
    with capture_logs() as logs:
        async with looking(broker), looking(broker):
            for times in range(1, 4):

                async def warned(times: int = times) -> bool:
                    return len(warnings(logs)) >= times

                await until(warned)
                assert len(warnings(logs)) == times
                await broker.store.change(update(table(ChoreRow)).values(due=0))


async def test_every_web_process_looks_for_them(broker: Broker) -> None:
    assert "Unserved.run" in {task.get_name() for task in asyncio.all_tasks()}


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
