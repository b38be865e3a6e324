"""Stopping a worker, and cancelling what it runs."""

from __future__ import annotations

import asyncio
from functools import partial
from operator import contains
from typing import TYPE_CHECKING, Any

from broker.queue.connection import queue_name
from broker.queue.worker import BatchWorker
from tests.integration.queue.ledger import NEVER, PATIENCE, TYPE, Batch, Ledger, until, until_holds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arq import ArqRedis

    from broker.queue.embedded import EmbeddedValkey
    from broker.queue.nudge import Nudger
    from tests.integration.queue.conftest import StartWorker


async def test_an_idle_worker_stops_at_once(valkey: EmbeddedValkey) -> None:
    async def stop_an_idle_one(url: str | None) -> None:
        ledger = Ledger()
        worker = _worker(url, ledger)
        working = asyncio.create_task(worker.async_run())
        await until(lambda: ledger.claims == 1)
        worker.stop()
        await asyncio.wait_for(working, PATIENCE)

    await stop_an_idle_one(valkey.url)
    await stop_an_idle_one(None)


async def test_stop_waits_for_what_runs_and_claims_nothing_new(
    valkey: EmbeddedValkey, nudger: Nudger, redis: ArqRedis
) -> None:
    ledger = Ledger()
    ledger.gate.clear()
    batches = ledger.add(2)
    worker = _worker(valkey.url, ledger)
    working = asyncio.create_task(worker.async_run())
    await until(lambda: len(ledger.now) == 2)
    worker.stop()
    claims = ledger.claims
    later = ledger.add(2)
    nudger.ring(later)
    await until_holds(lambda: redis.exists(queue_name(TYPE)))
    assert not working.done()
    ledger.gate.set()
    await asyncio.wait_for(working, PATIENCE)
    assert ledger.ran_once(batches)
    assert ledger.claims == claims
    assert [batch.id for batch in ledger.waiting] == [batch_id for _, batch_id in later]


async def test_what_outlasts_the_grace_is_cancelled_and_given_back(valkey: EmbeddedValkey) -> None:
    ledger = Ledger()
    ledger.gate.clear()
    batches = ledger.add(2)
    worker = _worker(valkey.url, ledger, grace_seconds=0.05)
    working = asyncio.create_task(worker.async_run())
    await until(lambda: len(ledger.now) == 2)
    worker.stop()
    await asyncio.wait_for(working, PATIENCE)
    assert sorted(ledger.given_back) == [batch_id for _, batch_id in batches]


async def test_a_claim_in_flight_when_stopped_is_run(valkey: EmbeddedValkey) -> None:
    ledger = Ledger()
    batches = ledger.add(1)
    asked, answer = asyncio.Event(), asyncio.Event()

    async def claim(types: Sequence[str], free: int) -> Sequence[Batch]:
        asked.set()
        await answer.wait()
        return await ledger.claim(types, free)

    worker = _worker(valkey.url, ledger, claim=claim)
    working = asyncio.create_task(worker.async_run())
    await asked.wait()
    worker.stop()
    answer.set()
    await asyncio.wait_for(working, PATIENCE)
    assert ledger.ran_once(batches)


async def test_a_batch_claimed_in_the_loop_turn_of_a_second_signal_is_given_back(valkey: EmbeddedValkey) -> None:
    ledger = Ledger()
    ledger.gate.clear()
    batches = ledger.add(1)

    async def claim(types: Sequence[str], free: int) -> Sequence[Batch]:
        claimed = await ledger.claim(types, free)
        worker.loop.call_soon(worker.stop_now)
        return claimed

    worker = _worker(valkey.url, ledger, claim=claim)
    await asyncio.wait_for(worker.async_run(), PATIENCE)
    assert ledger.given_back == [batch_id for _, batch_id in batches]


async def test_giving_back_is_not_cancelled_again(valkey: EmbeddedValkey) -> None:
    started, given_back = asyncio.Event(), asyncio.Event()

    async def run(batch: Batch) -> None:
        try:
            started.set()
            await asyncio.sleep(NEVER)
        except asyncio.CancelledError:
            await asyncio.sleep(0.3)
            given_back.set()
            raise

    ledger = Ledger()
    ledger.add(1)
    worker = _worker(valkey.url, ledger, run=run, grace_seconds=0.1)
    working = asyncio.create_task(worker.async_run())
    await started.wait()
    worker.stop()
    for _ in range(3):
        await asyncio.sleep(0.02)
        worker.stop_now()
    await asyncio.wait_for(working, PATIENCE)
    assert given_back.is_set()


async def test_cancelling_the_worker_gives_everything_back(valkey: EmbeddedValkey) -> None:
    ledger = Ledger()
    ledger.gate.clear()
    batches = ledger.add(3)
    working = asyncio.create_task(_worker(valkey.url, ledger).async_run())
    await until(lambda: len(ledger.now) == 3)
    working.cancel()
    await asyncio.wait({working}, timeout=PATIENCE)
    assert working.cancelled()
    assert sorted(ledger.given_back) == [batch_id for _, batch_id in batches]


async def test_a_cancelled_batch_frees_its_slot(start_worker: StartWorker) -> None:
    ledger = Ledger()
    ledger.gate.clear()
    batches = ledger.add(3)
    worker = await start_worker(ledger, slots=1)
    for _, batch_id in batches:
        await until(partial(contains, ledger.now, batch_id))
        assert list(worker.running) == [batch_id]
        worker.running[batch_id].cancel()
    await until(lambda: not worker.running)
    assert ledger.given_back == [batch_id for _, batch_id in batches]


async def test_a_batch_claimed_anew_ends_its_older_run(nudger: Nudger, start_worker: StartWorker) -> None:
    ledger = Ledger()
    ledger.gate.clear()
    batches = ledger.add(1)
    worker = await start_worker(ledger)
    await until(lambda: len(ledger.now) == 1)
    ledger.waiting.append(Batch(batches[0][1]))
    nudger.ring(batches)
    await until(lambda: ledger.given_back)
    ledger.gate.set()
    await until(lambda: not worker.running)
    assert ledger.runs[batches[0][1]] == 2
    assert ledger.ended[batches[0][1]] == 1


async def test_hooks_share_the_context(valkey: EmbeddedValkey) -> None:
    seen: list[str] = []

    async def started(ctx: dict[Any, Any]) -> None:
        await ctx["redis"].ping()
        seen.append(f"started {ctx['name']}")

    async def ended(ctx: dict[Any, Any]) -> None:
        await ctx["redis"].ping()
        seen.append(f"ended {ctx['name']}")

    ledger = Ledger()
    worker = _worker(valkey.url, ledger, on_startup=started, on_shutdown=ended, ctx={"name": "one"})
    working = asyncio.create_task(worker.async_run())
    await until(lambda: ledger.claims == 1)
    worker.stop()
    await asyncio.wait_for(working, PATIENCE)
    assert seen == ["started one", "ended one"]


def _worker(url: str | None, ledger: Ledger, **options: Any) -> BatchWorker[Batch]:
    defaults: dict[str, Any] = {"claim": ledger.claim, "run": ledger.run}
    return BatchWorker(url, types=[TYPE], slots=4, idle_seconds=NEVER, **(defaults | options))
