"""A worker that stops: what still runs is cut off and free for others, what has finished is kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.integration.running import PATIENCE, StartBroker, StartWorker
from tests.integration.work.scene import Scene

LOOP_TURNS = 100
"""More than there are between a handler's end and the collection of its result, none of which waits for anything."""


@pytest.fixture
async def scene(hostile: Path, start_broker: StartBroker, tmp_path: Path) -> Scene:
    return Scene(await start_broker(), tmp_path)


@pytest.mark.parametrize("type", ["hostile", "hostile-async"])
async def test_second_stop_cuts_the_grace_short_and_what_runs_is_free_for_others_at_once(
    scene: Scene, start_worker: StartWorker, tmp_path: Path, type: str
) -> None:
    worker = await start_worker(grace_seconds=600, worker_threads=2)
    id = await scene.post(scene.held(), type=type)
    quick = await scene.post(scene.held(tmp_path / "quick"), type=type)
    await scene.began(2)
    worker.batches.stop()
    (tmp_path / "quick").touch()
    await scene.broker.done(quick)  # by now the worker waits for the other
    worker.batches.stop_now()
    try:
        async with asyncio.timeout(PATIENCE):
            await worker.task
    finally:
        scene.gate.touch()
    batch = await scene.batch(id)
    assert (batch.status, batch.crashes, batch.lease_owner, batch.lease_until) == ("CREATED", 0, None, None)
    assert batch.due <= batch.modified
    await start_worker()
    await scene.broker.done(id)
    batch = await scene.batch(id)
    assert (batch.lease_seq, batch.crashes, batch.outcome) == (2, 0, "succeeded")


async def test_records_that_have_finished_when_a_worker_stops_are_kept(scene: Scene, start_worker: StartWorker) -> None:
    """Those of the last second too, which no checkpoint has stored yet."""
    worker = await start_worker(grace_seconds=0, worker_threads=3)
    id = await scene.post(scene.free(), scene.free(), scene.held(), type="hostile-async")
    await scene.began(3)
    for _ in range(LOOP_TURNS):
        await asyncio.sleep(0)
    await worker.stop()
    assert await scene.stored() == [0, 1]
    scene.gate.touch()
    await start_worker()
    await scene.broker.done(id)
    assert scene.noted() == {"0 started": 1, "1 started": 1, "2 started": 2, "2 cancelled": 1}
