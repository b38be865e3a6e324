"""A second signal while a worker's batches end in their grace: what still runs is cut off and free for others."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.integration.running import PATIENCE, StartBroker, StartWorker
from tests.integration.work.scene import Scene


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
