"""Stock arq on both ends of our queues."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from arq import Retry, create_pool
from arq.connections import RedisSettings
from arq.jobs import Job, JobStatus
from arq.worker import Worker, func

from broker.queue.connection import disconnect, queue_name
from broker.queue.worker import BatchWorker
from tests.integration.queue.ledger import PATIENCE, TYPE, Batch, Ledger, until, until_holds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from arq import ArqRedis

    from broker.queue.embedded import EmbeddedValkey
    from broker.queue.nudge import Nudger
    from tests.integration.queue.conftest import StartWorker

QUEUE = queue_name(TYPE)
Context = dict[Any, Any]


@pytest.fixture
async def stock(valkey: EmbeddedValkey) -> AsyncIterator[ArqRedis]:
    """arq's own client, made its own way, with the JSON that our queues speak."""
    settings = RedisSettings(unix_socket_path=valkey.url.removeprefix("unix://"))
    client = await create_pool(settings, job_serializer=_dumps, job_deserializer=json.loads)
    yield client
    await disconnect(client)


async def add(ctx: Context, a: int, b: int) -> int:
    return a + b


async def test_an_unmodified_arq_worker_runs_our_nudge(nudger: Nudger, stock: ArqRedis) -> None:
    looked_at: list[str] = []

    async def nudge(ctx: Context, batch_id: str) -> None:
        assert ctx["job_id"] == f"nudge:{batch_id}"
        looked_at.append(batch_id)

    nudger.ring([(TYPE, "b-1"), (TYPE, "b-2")])
    await until_holds(lambda: stock.zcard(QUEUE))
    worker = Worker(
        functions=[func(nudge, name="nudge", keep_result=0)],
        queue_name=QUEUE,
        redis_pool=stock,
        job_deserializer=json.loads,
        handle_signals=False,
        burst=True,
        poll_delay=0.01,
    )
    assert await worker.run_check() == 2
    assert sorted(looked_at) == ["b-1", "b-2"]
    assert await stock.zcard(QUEUE) == 0


async def test_a_stock_job_is_run_in_each_queue(stock: ArqRedis, start_worker: StartWorker) -> None:
    await start_worker(Ledger(), types=["edit", TYPE], functions=[add], idle_seconds=0.05)
    for queue in (queue_name("edit"), QUEUE):
        job = await stock.enqueue_job("add", 1, 2, _queue_name=queue)
        assert job is not None
        assert await job.result(timeout=PATIENCE, poll_delay=0.01) == 3
        info = await job.result_info()
        assert info is not None
        assert info.queue_name == queue
        assert await stock.zcard(queue) == 0


async def test_a_stock_job_has_the_hooks_of_arq(stock: ArqRedis, start_worker: StartWorker) -> None:
    heard: list[tuple[str, str]] = []

    def hook(name: str) -> Callable[[dict[str, Any]], Awaitable[None]]:
        async def hear(ctx: dict[str, Any]) -> None:
            heard.append((name, ctx["job_id"]))

        return hear

    hooks: dict[str, Any] = {name: hook(name) for name in ("on_job_start", "on_job_end", "after_job_end")}
    await start_worker(Ledger(), functions=[add], idle_seconds=0.05, **hooks)
    job = await stock.enqueue_job("add", 1, 2, _queue_name=QUEUE)
    assert job is not None
    await until(lambda: len(heard) == 3)
    assert heard == [(name, job.job_id) for name in hooks]


async def test_a_nudge_of_a_stock_client_is_understood(stock: ArqRedis, start_worker: StartWorker) -> None:
    ledger = Ledger()
    await start_worker(ledger, idle_seconds=0.05)
    batches = ledger.add(1)
    job = await stock.enqueue_job("nudge", batches[0][1], _queue_name=QUEUE)
    assert job is not None
    await until(lambda: ledger.ran_once(batches))
    await _ended(job)


async def test_a_deferred_stock_job_waits(stock: ArqRedis, start_worker: StartWorker) -> None:
    await start_worker(Ledger(), functions=[add], idle_seconds=0.05)
    later = await stock.enqueue_job("add", 1, 2, _queue_name=QUEUE, _defer_by=3600)
    now = await stock.enqueue_job("add", 3, 4, _queue_name=QUEUE)
    assert later is not None
    assert now is not None
    assert await now.result(timeout=PATIENCE, poll_delay=0.01) == 7
    assert await later.status() == JobStatus.deferred


async def test_stock_jobs_and_batches_share_the_slots(stock: ArqRedis, start_worker: StartWorker) -> None:
    ledger = Ledger()
    ledger.gate.clear()
    running = 0

    async def occupy(ctx: Context) -> None:
        nonlocal running
        running += 1
        await ledger.gate.wait()
        running -= 1

    jobs = [await stock.enqueue_job("occupy", _queue_name=QUEUE) for _ in range(3)]
    worker = await start_worker(ledger, slots=4, functions=[func(occupy, name="occupy")], idle_seconds=0.05)
    await until(lambda: running == 3)
    batches = ledger.add(5)
    await until(lambda: len(ledger.now) == 1)
    assert running + len(worker.running) == 4
    ledger.gate.set()
    await until(lambda: ledger.ran_once(batches))
    for job in jobs:
        assert job is not None
        await _ended(job)


async def test_more_stock_jobs_than_slots_run_all(stock: ArqRedis, start_worker: StartWorker) -> None:
    await start_worker(Ledger(), slots=2, functions=[add], idle_seconds=0.05)
    jobs = [await stock.enqueue_job("add", n, n, _queue_name=QUEUE) for n in range(9)]
    for n, job in enumerate(jobs):
        assert job is not None
        assert await job.result(timeout=PATIENCE, poll_delay=0.01) == 2 * n


async def test_jobs_that_run_elsewhere_hide_none_behind_them(stock: ArqRedis, start_worker: StartWorker) -> None:
    gate = asyncio.Event()
    running = 0

    async def occupy(ctx: Context) -> None:
        nonlocal running
        running += 1
        await gate.wait()

    functions = [func(occupy, name="occupy"), add]
    await start_worker(Ledger(), slots=4, functions=functions, idle_seconds=0.05)
    occupied = [await stock.enqueue_job("occupy", _queue_name=QUEUE) for _ in range(4)]
    await until(lambda: running == 4)
    await start_worker(Ledger(), slots=2, functions=functions, idle_seconds=0.05)
    job = await stock.enqueue_job("add", 1, 2, _queue_name=QUEUE)
    assert job is not None
    assert await job.result(timeout=PATIENCE, poll_delay=0.01) == 3
    gate.set()
    for other in occupied:
        assert other is not None
        await _ended(other)
    assert running == 4


async def test_a_job_may_enqueue_another(stock: ArqRedis, start_worker: StartWorker) -> None:
    async def more(ctx: Context) -> None:
        await ctx["redis"].enqueue_job("add", 1, 2, _queue_name=QUEUE, _job_id="more")

    await start_worker(Ledger(), functions=[func(more, name="more"), add], idle_seconds=0.05)
    first = await stock.enqueue_job("more", _queue_name=QUEUE)
    assert first is not None
    await _ended(first)
    assert await Job("more", stock, QUEUE, json.loads).result(timeout=PATIENCE, poll_delay=0.01) == 3


async def test_a_stock_job_may_ask_for_a_retry(stock: ArqRedis, start_worker: StartWorker) -> None:
    async def second_time(ctx: Context) -> int:
        if ctx["job_try"] == 1:
            raise Retry
        return int(ctx["job_try"])

    await start_worker(Ledger(), functions=[func(second_time, name="second_time")], idle_seconds=0.05)
    job = await stock.enqueue_job("second_time", _queue_name=QUEUE)
    assert job is not None
    assert await job.result(timeout=PATIENCE, poll_delay=0.01) == 2


async def test_a_pickled_job_is_refused_unread(
    valkey: EmbeddedValkey, stock: ArqRedis, start_worker: StartWorker, tmp_path: Path
) -> None:
    trap = tmp_path / "sprung"
    pickling = await create_pool(RedisSettings(unix_socket_path=valkey.url.removeprefix("unix://")))
    job = await pickling.enqueue_job("add", _Trap(trap), _queue_name=QUEUE)
    await disconnect(pickling)
    ledger = Ledger()
    await start_worker(ledger, functions=[add], idle_seconds=0.05)
    assert job is not None
    await _ended(Job(job.job_id, stock, QUEUE))
    assert not trap.exists()
    batches = ledger.add(1)
    await until(lambda: ledger.ran_once(batches))


async def test_a_stock_job_that_outlasts_the_grace_stays_for_others(valkey: EmbeddedValkey, stock: ArqRedis) -> None:
    running = asyncio.Event()

    async def occupy(ctx: Context) -> None:
        running.set()
        await asyncio.sleep(PATIENCE)

    ledger = Ledger()
    worker: BatchWorker[Batch] = BatchWorker(
        valkey.url,
        types=[TYPE],
        slots=1,
        claim=ledger.claim,
        run=ledger.run,
        grace_seconds=0.05,
        functions=[func(occupy, name="occupy")],
    )
    job = await stock.enqueue_job("occupy", _queue_name=QUEUE)
    working = asyncio.create_task(worker.async_run())
    await running.wait()
    worker.stop()
    await asyncio.wait_for(working, PATIENCE)
    assert job is not None
    assert await job.status() == JobStatus.queued


class _Trap:
    """Pickles to code that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def _dumps(job: dict[str, Any]) -> bytes:
    return json.dumps(job).encode()


async def _ended(job: Job) -> None:
    async with asyncio.timeout(PATIENCE):
        while await job.status() in (JobStatus.queued, JobStatus.in_progress):
            await asyncio.sleep(0.01)
