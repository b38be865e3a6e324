"""What a receiver's answer does to the tries that follow it."""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import QueuePool, Row, select

from broker.store.tables import AttemptRow, DeliveryRow, EndpointRow, table
from tests.integration.net.servers import Answer, reply, stall
from tests.integration.owed import attempt_rows, owe
from tests.integration.receiver import Receiver
from tests.integration.running import (
    Broker,
    StartBroker,
    StartWorker,
    in_base64,
    photograph,
    run_worker,
    settings_for,
    until,
)

SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}
TWO_HOURS = 7200.0
_deliveries, _attempts = table(DeliveryRow), table(AttemptRow)


@pytest.fixture
async def broker(start_broker: StartBroker) -> Broker:
    return await start_broker()


async def hang_up_late(writer: asyncio.StreamWriter) -> None:
    """Not within the second in which a receiver that dies is tried once more at once."""
    await asyncio.sleep(1.1)
    writer.transport.abort()


async def announced(broker: Broker, receiver: Receiver) -> Row[Any]:
    """The delivery of a batch that is done, once the answer to its first try is judged; `pause`: seconds to the next.

    Both ends of the pause are the database's times, and the try's duration lies between them.
    """
    await broker.post({"type": "upscaler", "records": [SOURCE], "webhook": {"endpoint": receiver.url()}})
    pause = ((_deliveries.c.due - _attempts.c.started - _attempts.c.duration_ms) / 1000.0).label("pause")
    judged = (
        select(_deliveries.c.state, _attempts.c.status_code, _attempts.c.error, pause)
        .join(_attempts, _attempts.c.delivery_id == _deliveries.c.id)
        .where(_attempts.c.duration_ms.is_not(None))
    )

    async def first() -> Row[Any] | None:
        rows = await broker.store.rows(judged)
        return rows[0] if rows else None

    return await until(first)


@pytest.mark.parametrize(
    ("answer", "least", "most"),
    [
        pytest.param(reply(500, headers={"Retry-After": "9000"}), 0.8, 1.2, id="500"),
        pytest.param(reply(503), 0.8, 1.2, id="503"),
        pytest.param(reply(503, headers={"Retry-After": "9000"}), 1.25, 1.25, id="503-in-9000-s"),
        pytest.param(reply(429, headers={"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}), 1.6, 2.4, id="429-in-ages"),
        pytest.param(reply(504, headers={"Retry-After": "later"}), 0.8, 1.2, id="504-later"),
        pytest.param(hang_up_late, 0.8, 1.2, id="dead-after-a-second"),
    ],
)
async def test_the_pause_is_the_schedule_s_or_what_a_busy_receiver_asks_for_within_twice_that(
    broker: Broker, start_worker: StartWorker, receiver: Receiver, answer: Answer, least: float, most: float
) -> None:
    await start_worker(webhook_schedule=("0", str(TWO_HOURS)))
    receiver.answers = [answer]
    delivery = await announced(broker, receiver)
    assert delivery.state == "pending"
    assert least * TWO_HOURS - 1 <= delivery.pause <= most * TWO_HOURS + 60


@pytest.mark.parametrize("answer", [reply(429), stall], ids=["429", "timeout"])
async def test_a_receiver_that_is_overwhelmed_has_a_minute_at_least(
    broker: Broker, start_worker: StartWorker, receiver: Receiver, answer: Answer
) -> None:
    await start_worker(webhook_schedule=("0", "5", "300"), webhook_timeout=0.5)
    receiver.answers = [answer]
    delivery = await announced(broker, receiver)
    assert (delivery.state, delivery.error) == ("pending", "timeout" if answer is stall else None)
    assert 59 <= delivery.pause <= 119


@pytest.mark.parametrize(
    ("status", "wish", "state", "health"),
    [
        (400, "abort-message", "stopped", "healthy"),
        (400, "disable", "stopped", "disabled"),
        (200, "disable", "delivered", "disabled"),
    ],
)
async def test_a_receiver_that_wants_no_more_gets_no_more(
    broker: Broker, start_worker: StartWorker, receiver: Receiver, status: int, wish: str, state: str, health: str
) -> None:
    await start_worker()
    receiver.answers = [reply(status, headers={"Webhook-Delivery": wish}), reply(200)]
    delivery = await announced(broker, receiver)
    assert (delivery.state, delivery.status_code) == (state, status)
    assert (await broker.store.row(select(table(EndpointRow).c.state))).state == health


@asynccontextmanager
async def owed_behind_a_lock(database_url: str) -> AsyncIterator[None]:
    """The only delivery is due again, and nobody can claim it before this ends."""
    again = "UPDATE deliveries SET state = 'pending', due = 0, finished = NULL"
    if database_url.startswith("sqlite"):
        path = Path(database_url.removeprefix("sqlite:///"))
        with path.with_name(f"{path.name}.lock").open() as lock:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute(again)
            yield
        return
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
        await connection.execute(again)
        yield
    await connection.close()


async def test_a_worker_that_stops_sends_what_it_was_about_to_claim(
    broker: Broker, receiver: Receiver, database_url: str, tmp_path: Path
) -> None:
    """Or it would be sent by nobody until the lease of that claim is over, and have one try less."""
    async with AsyncExitStack() as stack:
        worker = await stack.enter_async_context(run_worker(settings_for(tmp_path, database_url)))
        assert (await announced(broker, receiver)).state == "delivered"
        await worker.stop()  # its looks for batches would wait for the same lock, and its sender goes on meanwhile
        async with owed_behind_a_lock(database_url):
            worker.work.sender.wake()
            await asyncio.sleep(0.5)
            leaving = asyncio.create_task(stack.aclose())
            await asyncio.sleep(0.5)
        await leaving
    row = await broker.store.row(select(_deliveries.c.state, _deliveries.c.attempts))
    assert (row.state, row.attempts, len(receiver.posts)) == ("delivered", 2, 2)


async def test_a_try_that_begins_late_in_a_worker_that_stops_has_all_its_time_and_is_noted(
    broker: Broker, receiver: Receiver, database_url: str, tmp_path: Path
) -> None:
    """Or nobody would know what it met, and the last of a delivery would be sent again."""
    answered = asyncio.Event()

    async def hang() -> None:
        await answered.wait()

    receiver.on_post = hang
    await owe(broker, url=receiver.url(), state="exhausted", due=None)
    async with AsyncExitStack() as stack, AsyncExitStack() as readers:
        worker = await stack.enter_async_context(run_worker(settings_for(tmp_path, database_url, webhook_timeout=0.5)))
        await worker.stop()
        async with owed_behind_a_lock(database_url):
            worker.work.sender.wake()
            await asyncio.sleep(0.5)
            pool = worker.work.sender.database.engine.pool
            assert isinstance(pool, QueuePool)
            for _ in range(pool.size()):  # so that the signing secrets are waited for
                await readers.enter_async_context(worker.work.sender.database.reading())
            leaving = asyncio.create_task(stack.aclose())
            await asyncio.sleep(0.5)
        await asyncio.sleep(0.3)
        await readers.aclose()
        await leaving
    answered.set()
    assert await attempt_rows(broker) == [(1, False, None, "timeout")]


async def test_a_worker_that_stops_waits_for_the_answer_to_what_it_sends(
    broker: Broker, receiver: Receiver, database_url: str, tmp_path: Path
) -> None:
    sending, answered = asyncio.Event(), asyncio.Event()

    async def answer_late() -> None:
        sending.set()
        await answered.wait()

    receiver.on_post = answer_late
    async with run_worker(settings_for(tmp_path, database_url)):
        await broker.post({"type": "upscaler", "records": [SOURCE], "webhook": {"endpoint": receiver.url()}})
        await sending.wait()
        asyncio.get_running_loop().call_later(0.3, answered.set)
    row = await broker.store.row(select(_deliveries.c.state, _deliveries.c.attempts))
    assert (row.state, row.attempts) == ("delivered", 1)
