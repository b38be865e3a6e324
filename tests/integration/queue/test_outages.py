"""What Redis may do to a worker and to a nudger without harm."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from arq.worker import func
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from broker.queue.connection import connect, disconnect, queue_name
from broker.queue.nudge import Nudger
from broker.queue.worker import BatchWorker
from tests.integration.queue.hanging import hanging_at
from tests.integration.queue.ledger import NEVER, TYPE, Batch, Ledger, until, until_holds

if TYPE_CHECKING:
    from pathlib import Path

    from arq import ArqRedis
    from structlog.typing import EventDict

    from broker.queue.embedded import EmbeddedValkey
    from tests.integration.queue.conftest import StartWorker


def events(logs: list[EventDict]) -> list[str]:
    return [line["event"] for line in logs]


async def test_flushall_costs_no_batch(nudger: Nudger, redis: ArqRedis, start_worker: StartWorker) -> None:
    ledger = Ledger()
    ledger.gate.clear()
    await start_worker(ledger, slots=2, idle_seconds=0.1)
    batches = ledger.add(20)
    nudger.ring(batches)
    await until(lambda: len(ledger.now) == 2)
    nudger.ring([("other", "behind them")])
    await until_holds(lambda: redis.exists(queue_name("other")))
    await redis.flushall()
    ledger.gate.set()
    await until(lambda: ledger.ran_once(batches))


async def test_script_flush_costs_no_nudge(nudger: Nudger, redis: ArqRedis, start_worker: StartWorker) -> None:
    ledger = Ledger()
    await start_worker(ledger)
    for _ in range(2):
        await redis.script_flush()
        batches = ledger.add(2)
        nudger.ring(batches)
        await until(partial(ledger.ran_once, batches))


async def test_killed_connections_stop_neither_worker_nor_nudger(
    nudger: Nudger, redis: ArqRedis, start_worker: StartWorker
) -> None:
    ledger = Ledger()
    await start_worker(ledger)
    await _kill_connections_while_batches_run(ledger, nudger, redis)


def test_killed_connections_stop_nothing_under_uvloop(valkey: EmbeddedValkey) -> None:
    async def main() -> None:
        ledger = Ledger()
        nudger, redis = Nudger(valkey.url), connect(valkey.url)
        await nudger.start()
        worker: BatchWorker[Batch] = BatchWorker(
            valkey.url, types=[TYPE], slots=4, claim=ledger.claim, run=ledger.run, idle_seconds=NEVER
        )
        working = asyncio.create_task(worker.async_run())
        await _kill_connections_while_batches_run(ledger, nudger, redis)
        worker.stop()
        await working
        await nudger.aclose()
        await disconnect(redis)

    uvloop.run(main())


async def _kill_connections_while_batches_run(ledger: Ledger, nudger: Nudger, redis: ArqRedis) -> None:
    for _ in range(5):
        ledger.gate.clear()
        batches = ledger.add(2)
        nudger.ring(batches)
        await until(lambda: len(ledger.now) == 2)
        await _kill_connections(redis)
        ledger.gate.set()
        await until(partial(ledger.ran_once, batches))


async def test_a_restarted_redis_is_used_again(
    valkey: EmbeddedValkey, nudger: Nudger, start_worker: StartWorker
) -> None:
    ledger = Ledger()
    await start_worker(ledger, slots=4)
    with capture_logs() as logs:
        valkey.stop()
        meanwhile = ledger.add(1)
        nudger.ring(meanwhile)
        await until(lambda: "nudge.redis_down" in events(logs))
        valkey.start()
        await until(lambda: "nudge.redis_up" in events(logs) and ledger.ran_once(meanwhile))
        afterwards = ledger.add(1)
        nudger.ring(afterwards)
        await until(lambda: ledger.ran_once(afterwards))
    assert sorted(events(logs)) == ["nudge.redis_down", "nudge.redis_up", "queue.redis_down", "queue.redis_up"]


async def test_while_redis_is_down_work_is_found_in_sql(valkey: EmbeddedValkey, start_worker: StartWorker) -> None:
    ledger = Ledger()
    await start_worker(ledger, idle_seconds=0.1)
    valkey.stop()
    for _ in range(3):
        batches = ledger.add(6)
        await until(partial(ledger.ran_once, batches))


async def test_a_worker_starts_without_its_redis_and_finds_it_later(
    valkey: EmbeddedValkey, nudger: Nudger, start_worker: StartWorker
) -> None:
    valkey.stop()
    ledger = Ledger()
    batches = ledger.add(1)
    await start_worker(ledger)
    await until(lambda: ledger.ran_once(batches))
    valkey.start()
    late = ledger.add(1)
    nudger.ring(late)
    await until(lambda: ledger.ran_once(late))


async def test_a_hanging_redis_holds_nobody_up(
    valkey: EmbeddedValkey, nudger: Nudger, redis: ArqRedis, start_worker: StartWorker
) -> None:
    ledger = Ledger()
    await start_worker(ledger, idle_seconds=0.1)
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        for _ in range(3):
            batches = ledger.add(6)
            nudger.ring(batches)
            await until(partial(ledger.ran_once, batches))
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
    nudger.ring([("other", "behind them")])
    await until_holds(lambda: redis.exists(queue_name("other")))


@pytest.mark.parametrize("command", [b"BLPOP", b"EVALSHA", b"WATCH"])
async def test_no_command_that_hangs_holds_up_the_next_look(
    command: bytes, valkey: EmbeddedValkey, redis: ArqRedis, start_worker: StartWorker, tmp_path: Path
) -> None:
    """Work is found long before the worker gives up the command, which it logs."""
    ledger = Ledger()
    await redis.enqueue_job("nothing", _queue_name=queue_name(TYPE))
    async with hanging_at(command, valkey.url, tmp_path) as (url, hanging):
        with capture_logs() as logs:
            await start_worker(ledger, url, idle_seconds=0.1, functions=[func(_nothing, name="nothing")])
            await until(lambda: hanging.hangs)
            for _ in range(2):
                batches = ledger.add(1)
                await until(partial(ledger.ran_once, batches))
            assert events(logs) == []


async def test_a_stock_job_that_hangs_and_then_fails_gives_its_slot_back(
    valkey: EmbeddedValkey, redis: ArqRedis, start_worker: StartWorker, tmp_path: Path
) -> None:
    ledger = Ledger()
    await redis.enqueue_job("nothing", _queue_name=queue_name(TYPE))
    async with hanging_at(b"WATCH", valkey.url, tmp_path) as (url, hanging):
        with capture_logs():
            await start_worker(ledger, url, slots=1, claim=ledger.claim, functions=[func(_nothing, name="nothing")])
            await until(lambda: hanging.hangs)
            await asyncio.sleep(0.2)  # the worker waits for its slot by now; if not, the test asks less
            await hanging.close()
            batches = ledger.add(1)
            await until(lambda: ledger.ran_once(batches))


async def test_a_failover_to_a_read_only_replica_is_one_outage(
    nudger: Nudger, redis: ArqRedis, start_worker: StartWorker
) -> None:
    ledger = Ledger()
    await start_worker(ledger, idle_seconds=0.1)
    with capture_logs() as logs:
        await redis.replicaof("127.0.0.1", "1")
        for _ in range(5):
            batches = ledger.add(2)
            nudger.ring(batches)
            await until(partial(ledger.ran_once, batches))
        await redis.replicaof("NO", "ONE")
        await until(lambda: {"nudge.redis_up", "queue.redis_up"} <= set(events(logs)))
    assert events(logs).count("queue.redis_down") == 1


async def test_a_key_of_the_wrong_kind_stops_no_worker(redis: ArqRedis, start_worker: StartWorker) -> None:
    await redis.set(queue_name(TYPE), "not a queue")
    with pytest.raises(ResponseError):
        await redis.zcard(queue_name(TYPE))
    ledger = Ledger()
    await start_worker(ledger, idle_seconds=0.1)
    batches = ledger.add(6)
    await until(lambda: ledger.ran_once(batches))


async def test_a_job_id_that_is_no_text_stops_no_worker(redis: ArqRedis, start_worker: StartWorker) -> None:
    await redis.zadd(queue_name(TYPE), {b"\xff": 1})
    ledger = Ledger()
    with capture_logs() as logs:
        await start_worker(ledger, idle_seconds=0.05)
        for _ in range(3):
            batches = ledger.add(6)
            await until(partial(ledger.ran_once, batches))
    assert events(logs) == []


async def test_ringing_while_redis_is_down_is_bounded(valkey: EmbeddedValkey) -> None:
    valkey.stop()
    nudger = Nudger(valkey.url, bound=100)
    await nudger.start()
    with capture_logs() as logs:
        for start in range(0, 1000, 10):
            nudger.ring((TYPE, f"b-{n}") for n in range(start, start + 10))
            await asyncio.sleep(0)
        await until(lambda: events(logs) == ["nudge.redis_down"])
        assert await nudger.ping() == "does not answer (ConnectionError)"
        valkey.start()
        await until(lambda: events(logs) == ["nudge.redis_down", "nudge.redis_up"])
    assert logs[-1]["dropped"] == 900
    client = connect(valkey.url)
    assert await client.zcard(queue_name(TYPE)) == 100
    assert await nudger.ping() is None
    await disconnect(client)
    await nudger.aclose()


async def test_closing_a_nudger_while_redis_is_down_does_not_wait(valkey: EmbeddedValkey) -> None:
    nudger = Nudger(valkey.url)
    await nudger.start()
    valkey.stop()
    with capture_logs() as logs:
        nudger.ring([(TYPE, "b")])
        await until(lambda: events(logs) == ["nudge.redis_down"])
    async with asyncio.timeout(5):
        await nudger.aclose()


async def test_stock_jobs_that_redis_refuses_cost_no_slot(
    valkey: EmbeddedValkey, redis: ArqRedis, start_worker: StartWorker
) -> None:
    """arq takes a slot before it asks Redis about a job, and forgets to give it back when that fails."""
    may_not_watch: dict[str, Any] = {"keys": ["*"], "categories": ["+@all"], "commands": ["-watch"]}
    await redis.acl_setuser("limited", enabled=True, passwords=["+word"], **may_not_watch)
    ledger = Ledger()
    url = f"{valkey.url.replace('unix://', 'unix://limited@')}?password=word"
    jobs = [await redis.enqueue_job("nothing", _queue_name=queue_name(TYPE)) for _ in range(8)]
    with capture_logs() as logs:
        functions = [func(_nothing, name="nothing")]
        worker = await start_worker(ledger, url, slots=4, idle_seconds=0.05, functions=functions)
        await until(lambda: events(logs).count("queue.redis_up") == 5)
    ledger.gate.clear()
    ledger.add(8)
    await until(lambda: len(worker.running) == 4)
    assert "NoPermissionError" in logs[0]["error"]
    assert await redis.zcard(queue_name(TYPE)) == len(jobs)


async def _kill_connections(redis: ArqRedis) -> None:
    await redis.client_kill_filter(_type="normal", skipme=True)


async def _nothing(ctx: dict[str, object]) -> None:
    """A stock job."""
