"""From a nudge to a running batch."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from broker.queue.connection import bell_name, queue_name
from broker.queue.nudge import Nudger
from broker.queue.worker import BatchWorker
from tests.integration.queue.bells import rung
from tests.integration.queue.ledger import TYPE, Batch, Ledger, until, until_holds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arq import ArqRedis

    from broker.queue.embedded import EmbeddedValkey
    from tests.integration.queue.conftest import StartWorker

MOST_BELLS = 64
"""That ring.lua leaves."""


async def test_a_nudge_wakes_an_idle_worker(nudger: Nudger, start_worker: StartWorker) -> None:
    ledger = Ledger()
    await start_worker(ledger)
    for _ in range(3):
        batches = ledger.add(1)
        nudger.ring(batches)
        await until(partial(ledger.ran_once, batches))


async def test_a_batch_whose_nudge_was_lost_is_found_by_the_idle_look(start_worker: StartWorker) -> None:
    ledger = Ledger()
    await start_worker(ledger, idle_seconds=0.1)
    batches = ledger.add(3)
    await until(lambda: ledger.ran_once(batches))


async def test_without_redis_work_is_found_in_sql(start_worker: StartWorker) -> None:
    ledger = Ledger()
    await start_worker(ledger, None, idle_seconds=0.1)
    batches = ledger.add(9)
    await until(lambda: ledger.ran_once(batches))


async def test_an_idle_worker_asks_redis_and_sql_once_in_each_of_its_pauses(
    start_worker: StartWorker, redis: ArqRedis
) -> None:
    """It runs one script that takes nudges and bells, and claims; all the while it goes on to wait for a bell."""
    ledger, pause, looks = Ledger(), 0.25, 5

    async def commands() -> Counter[str]:
        stats = await redis.info("commandstats")
        return Counter({name.removeprefix("cmdstat_"): int(command["calls"]) for name, command in stats.items()})

    await start_worker(ledger, idle_seconds=pause)
    start, claims, before = time.monotonic(), ledger.claims, await commands()
    await until(lambda: ledger.claims >= claims + looks)
    asked = await commands() - before
    assert asked.pop("info") == 1
    in_script = {"time", "zrangebyscore", "lpop"}
    assert asked.pop("blpop", 0) <= 1
    assert set(asked) == {"evalsha", *in_script}
    assert all(looks - 2 <= calls <= looks + 2 for calls in asked.values())
    assert time.monotonic() - start >= (looks - 1) * pause / 2  # the first had begun, and Redis' clock is coarse


async def test_while_no_worker_listens_the_bells_do_not_pile_up(nudger: Nudger, redis: ArqRedis) -> None:
    """One that comes back hears enough of them to look, and the nudges are all there."""
    for queued in (MOST_BELLS, 2 * MOST_BELLS, 3 * MOST_BELLS):
        nudger.ring([(TYPE, f"{queued}-{place}") for place in range(MOST_BELLS)])

        async def sent(count: int = queued) -> bool:
            return bool(await redis.zcard(queue_name(TYPE)) == count)

        await until_holds(sent)
        assert await rung(redis, MOST_BELLS)


async def test_doubled_nudges_run_a_batch_once(
    valkey: EmbeddedValkey, nudger: Nudger, redis: ArqRedis, start_worker: StartWorker
) -> None:
    ledger = Ledger()
    other = Nudger(valkey.url)
    await other.start()
    batches = ledger.add(5)
    for times, ringing in enumerate((nudger, other, nudger, other), 1):
        ringing.ring(batches)
        await until_holds(partial(rung, redis, 5 * times))
    await start_worker(ledger)
    await until(lambda: ledger.ran_once(batches))
    other.ring(batches)
    await other.aclose()
    last = ledger.add(1)
    nudger.ring(last)
    await until(lambda: ledger.ran_once([*batches, *last]))


async def test_slots_bound_what_runs_and_full_claims_go_on_without_a_bell(
    nudger: Nudger, start_worker: StartWorker
) -> None:
    ledger = Ledger()
    await start_worker(ledger, slots=10)
    batches = ledger.add(300)
    nudger.ring(batches[:1])
    await until(lambda: ledger.ran_once(batches))
    assert ledger.most == 10


async def test_a_claim_that_says_there_may_be_more_is_followed_by_one_at_the_next_end(
    start_worker: StartWorker,
) -> None:
    """One batch at a time, without a bell, by a worker that is next to never idle."""
    ledger = Ledger()
    batches = ledger.add(5)

    async def one(types: Sequence[str], _free: int) -> Sequence[Batch]:
        return () if ledger.now else await ledger.claim(types, 1)

    await start_worker(ledger, claim=one, more=lambda: bool(ledger.waiting))
    await until(lambda: ledger.ran_once(batches))
    assert ledger.most == 1


async def test_two_workers_share_a_burst(nudger: Nudger, start_worker: StartWorker) -> None:
    ledger = Ledger()
    ledger.gate.clear()
    workers = [await start_worker(ledger, claim=ledger.claim_beside_others, slots=2) for _ in range(2)]
    nudger.ring(ledger.add(4))
    await until(lambda: [len(worker.running) for worker in workers] == [2, 2])


async def test_a_bell_left_over_wakes_who_was_not_listening_when_it_rang(
    nudger: Nudger, start_worker: StartWorker
) -> None:
    ledger = Ledger()
    ledger.gate.clear()
    looking, looked = asyncio.Event(), asyncio.Event()

    async def look_before_they_came(types: Sequence[str], free: int) -> Sequence[Batch]:
        if not looked.is_set():
            looking.set()
            await looked.wait()
            return []
        return await ledger.claim(types, free)

    awake = await start_worker(ledger, slots=1)
    late = await start_worker(ledger, slots=1, claim=look_before_they_came)
    await looking.wait()
    nudger.ring(ledger.add(2))
    await until(lambda: len(awake.running) == 1)
    looked.set()
    await until(lambda: len(late.running) == 1)


async def test_the_bells_of_a_burst_wake_a_worker_once(
    nudger: Nudger, redis: ArqRedis, start_worker: StartWorker
) -> None:
    ledger = Ledger()
    ledger.gate.clear()
    worker = await start_worker(ledger, slots=8)

    async def offer(count: int, then_run: int) -> None:
        nudger.ring(ledger.add(count))
        await until(lambda: len(worker.running) == then_run)

    await offer(5, then_run=5)
    await offer(1, then_run=6)
    await offer(1, then_run=7)
    assert ledger.claims == 4
    assert await rung(redis, 0)


async def test_a_burst_leaves_nothing_in_redis(nudger: Nudger, redis: ArqRedis, start_worker: StartWorker) -> None:
    ledger = Ledger()
    await start_worker(ledger, slots=8)
    batches = ledger.add(20)
    nudger.ring(batches)
    await until(lambda: ledger.ran_once(batches))
    async with asyncio.timeout(10):
        while await redis.zcard(queue_name(TYPE)) or await redis.exists(bell_name(TYPE)):
            await asyncio.sleep(0.01)
    assert await redis.keys("arq:*") == []


async def test_one_worker_serves_several_types(nudger: Nudger, start_worker: StartWorker) -> None:
    ledger = Ledger()
    await start_worker(ledger, types=["upscaler", "edit"])
    for batch_type in ("edit", "upscaler"):
        batches = ledger.add(2, batch_type)
        nudger.ring(batches)
        await until(partial(ledger.ran_once, batches))


async def test_a_type_nobody_serves_here_stays(nudger: Nudger, redis: ArqRedis, start_worker: StartWorker) -> None:
    ledger = Ledger()
    await start_worker(ledger)
    batches, foreign = ledger.add(1), ledger.add(1, "flows")
    nudger.ring([*foreign, *batches])
    await until(lambda: ledger.ran_once(batches))
    assert ledger.runs[foreign[0][1]] == 0
    assert await redis.zrange(queue_name("flows"), 0, -1) == [f"nudge:{foreign[0][1]}".encode()]


async def test_a_failing_claim_is_tried_again(start_worker: StartWorker) -> None:
    ledger = Ledger()
    batches = ledger.add(3)
    failures = iter([OSError("database is away"), RuntimeError("and again"), ValueError("and again")])

    async def claim(types: Sequence[str], free: int) -> Sequence[Batch]:
        for error in failures:
            raise error
        return await ledger.claim(types, free)

    with capture_logs() as logs:
        await start_worker(ledger, claim=claim)
        await until(lambda: ledger.ran_once(batches))
    assert [line["event"] for line in logs] == ["queue.claim_failed"] * 3


async def test_a_failing_run_costs_only_its_batch(nudger: Nudger, start_worker: StartWorker) -> None:
    ledger = Ledger()
    bad, good = ledger.add(4), ledger.add(4)

    async def run(batch: Batch) -> None:
        if (batch.type, batch.id) in bad:
            raise RuntimeError("a bug in a handler")
        await ledger.run(batch)

    with capture_logs() as logs:
        await start_worker(ledger, run=run, slots=4)
        await until(lambda: ledger.ran_once(good))
    assert [(line["event"], line["batch_id"]) for line in logs] == [("queue.run_failed", batch) for _, batch in bad]
    more = ledger.add(4)
    nudger.ring(more)
    await until(lambda: ledger.ran_once(more))


def test_an_idle_worker_looks_before_a_second_is_over_unless_it_is_told_otherwise() -> None:
    """`broker worker` does not tell it, so work is claimed within a second where no nudge comes."""
    assert 0.5 < signature(BatchWorker).parameters["idle_seconds"].default < 1.0
