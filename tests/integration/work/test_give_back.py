"""A batch goes back to the queue even where the database does not take it at first, and no crash is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from broker.bootstrap.work import Work, open_work
from broker.store.claims import Claim
from broker.work.run import PAUSE_MS
from tests.integration.running import Broker, StartBroker, settings_for, until
from tests.integration.store.rows import claim
from tests.integration.work.scene import BATCHES, Scene


@pytest.fixture
async def broker(hostile: Path, start_broker: StartBroker) -> Broker:
    return await start_broker()


@pytest.fixture
def scene(broker: Broker, tmp_path: Path) -> Scene:
    return Scene(broker, tmp_path)


@pytest.fixture
async def work(broker: Broker, tmp_path: Path, database_url: str) -> AsyncIterator[Work]:
    """A worker process's parts, which claim nothing by themselves, for one of the hostile types."""
    async with open_work(settings_for(tmp_path, database_url), ["hostile"]) as work:
        yield work


async def claimed(work: Work) -> Claim:
    (one,) = await work.claim(work.types, 1)
    return one


async def comes_back(scene: Scene, id: str, logs: Sequence[Mapping[str, Any]], rest: int) -> None:
    """The heartbeat, and nobody else, gives the batch back; it rests for about `rest` ms then."""

    async def told() -> list[str]:
        return [line["reason"] for line in logs if line["event"] == "batch.given_back"]

    assert await until(told, 10) == ["let go"]
    batch = await scene.batch(id)
    assert (batch.status, batch.crashes, batch.lease_seq, batch.lease_owner) == ("CREATED", 0, 1, None)
    assert abs(batch.due - batch.modified - rest) < PAUSE_MS / 2


async def test_batch_of_a_cancelled_run_goes_back_later_when_the_database_refuses_it_now(
    scene: Scene, work: Work
) -> None:
    """As when a worker stops without grace."""
    id = await scene.post(scene.held())
    run = asyncio.create_task(work.run(await claimed(work)))
    await scene.began(1)
    with capture_logs() as logs:
        async with scene.refusing(work.core.database.writer):
            run.cancel()
            await asyncio.wait({run})
        await comes_back(scene, id, logs, rest=0)


async def test_batch_whose_end_the_database_refuses_goes_back_later_and_rests(scene: Scene, work: Work) -> None:
    id = await scene.post(scene.held())
    run = asyncio.create_task(work.run(await claimed(work)))
    await scene.began(1)
    with capture_logs() as logs:
        async with scene.refusing(work.core.database.writer):
            scene.gate.touch()
            await run
        await comes_back(scene, id, logs, rest=PAUSE_MS)


async def test_batch_that_failed_for_a_reason_of_ours_goes_back_later_when_its_crash_cannot_be_counted(
    scene: Scene, work: Work
) -> None:
    """This worker has not got its type, which nobody foresaw as none would claim it."""
    id = await scene.post(scene.free(), type="hostile-async")
    (unforeseen,) = await claim(scene.broker.core.database, types=("hostile-async",), owner=work.owner)
    work.heartbeat.held.add([unforeseen], float("inf"))
    with capture_logs() as logs:
        async with scene.refusing(work.core.database.writer):
            await work.run(unforeseen)
        await comes_back(scene, id, logs, rest=PAUSE_MS)
    assert [line["exc_info"] for line in logs if line["event"] == "batch.crashed"] == [True]


async def test_batch_lost_before_its_run_began_does_not_run(scene: Scene, work: Work) -> None:
    await scene.post(scene.free())
    lost = await claimed(work)
    work.heartbeat.held.lose(lost.lease)
    await scene.hand_lease_over()
    before = await scene.batch()
    with capture_logs() as logs:
        await work.run(lost)
    assert [(line["event"], line["batch"]) for line in logs] == [("batch.dropped", lost.id)]
    assert await scene.batch() == before
    assert scene.noted() == {}
    assert work.heartbeat.held.idle


async def test_batch_let_go_before_its_run_began_goes_back_as_it_is_nobody_elses(scene: Scene, work: Work) -> None:
    """A claim whose answer came so late that the lease was in doubt by then."""
    await scene.post(scene.free())
    late = await claimed(work)
    work.heartbeat.held.lose(late.lease)
    await work.run(late)
    batch = await scene.batch()
    assert (batch.status, batch.crashes, batch.lease_seq, batch.lease_owner) == ("CREATED", 0, 1, None)
    assert scene.noted() == {}
    assert work.heartbeat.held.idle


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [({"endpoint": "of-tomorrow"}, {"endpoint": "gate"}), ({"params": "[]"}, {"params": "{}"})],
    ids=["endpoint", "parameters"],
)
async def test_batch_that_another_version_of_its_type_accepted_waits_for_a_worker_that_has_that_one(
    scene: Scene, work: Work, theirs: dict[str, str], ours: dict[str, str]
) -> None:
    """As during a rolling deploy, in which the new web may be faster than the new worker."""
    await scene.post(scene.free())
    change = scene.broker.store.change
    await change(update(BATCHES).values(**theirs))
    with capture_logs() as logs:
        await work.run(await claimed(work))
    batch = await scene.batch()
    assert (batch.status, batch.crashes) == ("CREATED", 0)
    assert abs(batch.due - batch.modified - PAUSE_MS) < PAUSE_MS / 2  # on PostgreSQL the clock moves on in between
    assert [line["event"] for line in logs] == ["batch.started", "batch.hindered", "batch.given_back"]
    assert "does not take endpoint" in logs[1]["reason"]
    assert scene.noted() == {}
    await change(update(BATCHES).values(**ours, due=0))
    await work.run(await claimed(work))
    assert (await scene.batch()).status == "DONE"
    assert await scene.stored() == [0]
