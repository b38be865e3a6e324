"""A worker that takes nothing for now leaves bells to others, and rings again for them what it has heard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from broker.queue.connection import queue_name
from tests.integration.queue.bells import listening, rung
from tests.integration.queue.ledger import TYPE, Batch, Ledger, until, until_holds

if TYPE_CHECKING:
    from arq import ArqRedis

    from broker.queue.nudge import Nudger
    from tests.integration.queue.conftest import StartWorker

PAUSE = 0.3
"""After which a worker looks that has begun to listen, and listens on meanwhile."""


@dataclass
class Looks:
    """Claims of one worker: the first finds nothing, the next ones wait for `go_on`, and so many of them fail."""

    ledger: Ledger
    fail: int = 0
    count: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def claim(self, types: Sequence[str], free: int) -> Sequence[Batch]:
        self.count += 1
        if self.count == 1:
            return []
        await self.go_on.wait()
        if self.fail:
            self.fail -= 1
            raise OSError("database is away")
        return await self.ledger.claim_beside_others(types, free)


async def hear(nudger: Nudger, redis: ArqRedis, ledger: Ledger) -> list[tuple[str, str]]:
    """A batch whose bell has been heard by the one worker there is."""
    await until_holds(partial(listening, redis, 1))
    batches = ledger.add(1)
    nudger.ring(batches)
    await until_holds(partial(redis.zcard, queue_name(TYPE)))
    await until_holds(partial(listening, redis, 0))
    assert await rung(redis, 0)
    return batches


async def test_a_worker_without_room_leaves_bells_to_others(
    nudger: Nudger, redis: ArqRedis, start_worker: StartWorker
) -> None:
    """It had begun to listen before the work came that has filled it, and nothing rang for that."""
    ledger = Ledger()
    ledger.gate.clear()
    worker = await start_worker(ledger, slots=1, idle_seconds=PAUSE)
    ledger.add(1)
    await until(lambda: len(worker.running) == 1)
    await until_holds(partial(listening, redis, 0))
    nudger.ring(ledger.add(1))
    await until_holds(partial(rung, redis, 1))


async def test_a_bell_heard_by_a_worker_that_has_just_become_full_wakes_another(
    nudger: Nudger, redis: ArqRedis, start_worker: StartWorker
) -> None:
    ledger = Ledger()
    ledger.gate.clear()
    looks, others_looks = Looks(ledger), Looks(ledger)
    full = await start_worker(ledger, slots=1, idle_seconds=PAUSE, claim=looks.claim)
    await until(lambda: looks.count == 2)
    ledger.add(1)
    await hear(nudger, redis, ledger)
    other = await start_worker(ledger, claim=others_looks.claim)
    others_looks.go_on.set()
    await until_holds(partial(listening, redis, 1))
    looks.go_on.set()
    await until(lambda: [len(worker.running) for worker in (full, other)] == [1, 1])


@pytest.mark.parametrize("fail", [0, 1], ids=["full", "failed"])
async def test_a_worker_that_is_alone_rings_again_once_and_takes_that_bell_itself(
    nudger: Nudger, redis: ArqRedis, start_worker: StartWorker, fail: int
) -> None:
    ledger = Ledger()
    looks = Looks(ledger, fail)
    with capture_logs():
        await start_worker(ledger, slots=1, idle_seconds=PAUSE, claim=looks.claim)
        await until(lambda: looks.count == 2)
        batches = [*ledger.add(1), *await hear(nudger, redis, ledger)]
        looks.go_on.set()
        await until(lambda: ledger.ran_once(batches))
        await until_holds(partial(listening, redis, 1))
    assert await rung(redis, 0)
    assert (await redis.info("commandstats"))["cmdstat_lpush"]["calls"] == 2


async def test_a_worker_whose_claims_fail_leaves_bells_to_others(
    nudger: Nudger, redis: ArqRedis, start_worker: StartWorker
) -> None:
    ledger = Ledger()
    looks = Looks(ledger, fail=1000)
    with capture_logs():
        await start_worker(ledger, idle_seconds=PAUSE, claim=looks.claim)
        await until_holds(partial(listening, redis, 1))
        looks.go_on.set()
        await until(lambda: looks.count > 2)
        await start_worker(ledger)
        await until_holds(partial(listening, redis, 1))
        batches = ledger.add(1)
        nudger.ring(batches)
        await until(lambda: ledger.ran_once(batches))


async def test_a_worker_that_waits_for_its_next_end_leaves_bells_to_others(
    nudger: Nudger, redis: ArqRedis, start_worker: StartWorker
) -> None:
    """It has free slots, but may claim more only when what runs has ended."""
    ledger = Ledger()
    ledger.gate.clear()
    looks, mine = Looks(ledger), list[Batch]()
    looks.go_on.set()

    async def claim_one(types: Sequence[str], _free: int) -> Sequence[Batch]:
        if mine:
            return ()
        mine.extend(await looks.claim(types, 1))
        return mine

    one = await start_worker(ledger, idle_seconds=PAUSE, claim=claim_one, more=lambda: bool(mine))
    await until_holds(partial(listening, redis, 1))
    ledger.add(1)
    await until(lambda: len(one.running) == 1)
    other = await start_worker(ledger)
    await until_holds(partial(listening, redis, 1))
    nudger.ring(ledger.add(1))
    await until(lambda: len(other.running) == 1)


async def test_a_bell_heard_by_a_worker_that_stops_stays_for_others(
    nudger: Nudger, redis: ArqRedis, start_worker: StartWorker
) -> None:
    ledger = Ledger()
    looks = Looks(ledger)
    worker = await start_worker(ledger, types=["edit", TYPE], idle_seconds=PAUSE, claim=looks.claim)
    await until(lambda: looks.count == 2)
    await hear(nudger, redis, ledger)
    worker.stop()
    looks.go_on.set()
    await until_holds(partial(rung, redis, 1))


async def test_a_bell_that_was_taken_for_a_claim_that_failed_wakes_another(
    nudger: Nudger, redis: ArqRedis, start_worker: StartWorker
) -> None:
    """It would come to look by itself much later than this test waits."""
    ledger = Ledger()
    looks = Looks(ledger, fail=1000)
    looks.go_on.set()
    with capture_logs():
        await start_worker(ledger, claim=looks.claim)
        await until_holds(partial(listening, redis, 1))
        await start_worker(ledger)
        await until_holds(partial(listening, redis, 2))
        batches = ledger.add(1)
        nudger.ring(batches)
        await until(lambda: ledger.ran_once(batches))
    assert looks.count > 1


async def test_a_bell_that_a_worker_has_heeded_does_not_ring_again_when_that_has_filled_it(
    nudger: Nudger, redis: ArqRedis, start_worker: StartWorker
) -> None:
    ledger = Ledger()
    ledger.gate.clear()
    worker = await start_worker(ledger, slots=1)
    await until_holds(partial(listening, redis, 1))
    nudger.ring(ledger.add(1))
    await until(lambda: len(worker.running) == 1)
    worker.stop()  # by when it has rested
    ledger.gate.set()
    await until(lambda: not worker.running)
    assert (await redis.info("commandstats"))["cmdstat_lpush"]["calls"] == 1
