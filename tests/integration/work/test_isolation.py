"""Endpoints do not get in each other's way: one that hangs, one that always fails, and those that answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
from sqlalchemy import Row, select, update

from broker.endpoints import LEAST_CALLS
from broker.store.tables import AttemptRow, DeliveryRow, EndpointRow, table
from broker.webhooks.lanes import ORIGIN_SLOTS, UNPROVEN, WIDEST
from broker.webhooks.send import LOOK_SECONDS
from tests.integration.net.servers import reply, stall
from tests.integration.net.tcp import listening
from tests.integration.owed import owe
from tests.integration.receiver import Receiver, read_post
from tests.integration.running import Broker, StartWorker, Worker, in_base64, photograph, until

SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}
_deliveries, _endpoints, _attempts = table(DeliveryRow), table(EndpointRow), table(AttemptRow)


async def announce(broker: Broker, *urls: str) -> None:
    for url in urls:
        await broker.post({"type": "upscaler", "records": [SOURCE], "webhook": {"endpoint": url}})


async def owed(broker: Broker, count: int) -> None:
    """Until so many batches are DONE and have their deliveries."""

    async def all_there() -> bool:
        return len(await broker.store.rows(select(_deliveries.c.id))) >= count

    await until(all_there)


@pytest.fixture
async def hanging() -> AsyncIterator[Receiver]:
    """It takes a POST and never answers."""
    async with Receiver(answers=[stall]).listen() as receiver:
        yield receiver


async def test_an_endpoint_that_hangs_is_sent_one_at_a_time_and_delays_no_other(
    broker: Broker, start_worker: StartWorker, hanging: Receiver, receiver: Receiver
) -> None:
    await start_worker(webhook_timeout=60)
    await announce(broker, *[hanging.url()] * 6)
    await owed(broker, 6)
    await announce(broker, *[receiver.url()] * 3, hanging.url(), receiver.url())
    await receiver.posted(4)
    await owed(broker, 11)

    async def held() -> bool:
        return len(await broker.store.rows(select(_deliveries.c.id).where(_deliveries.c.held.is_not(None)))) == 6

    await until(held)
    assert len(hanging.posts) == 1


async def tried(broker: Broker, count: int) -> Sequence[Row[Any]]:
    """So many tries, in the order in which they began, once all of them have ended."""
    ended = select(_attempts).where(_attempts.c.duration_ms.is_not(None)).order_by(_attempts.c.started)

    async def so_many() -> Sequence[Row[Any]] | None:
        rows = await broker.store.rows(ended)
        return rows if len(rows) >= count else None

    return await until(so_many)


async def test_an_endpoint_that_hung_has_its_turn_again_and_again(
    broker: Broker, start_worker: StartWorker, hanging: Receiver
) -> None:
    await start_worker(webhook_timeout=0.2, webhook_schedule=("0", "6000"))
    await owe(broker, 4, url=hanging.url())
    assert len({row.delivery_id for row in await tried(broker, 4)}) == 4


async def test_an_endpoint_that_does_not_answer_any_more_is_sent_one_at_a_time_again(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    receiver.answers = [reply(200), reply(200), stall]
    await start_worker(webhook_timeout=0.5, webhook_schedule=("0", "6000"))
    await owe(broker, 2, url=receiver.url())
    await tried(broker, 2)
    await owe(broker, 3, url=receiver.url())
    await tried(broker, 5)
    await owe(broker, 2, url=receiver.url())
    *_, one, other = await tried(broker, 7)
    assert other.started - one.started > 250


async def test_the_end_of_a_try_makes_room_for_the_next_one_at_once(
    broker: Broker, worker: Worker, receiver: Receiver
) -> None:
    """Nobody answers, so there is one at a time; whoever had to look for it would begin one a second."""
    receiver.answers = [hang_up]
    await owe(broker, 4, url=receiver.url())
    started = [row.started for row in await tried(broker, 8)]
    pauses = [later - earlier for earlier, later in pairwise(started)]
    assert median(pauses) < LOOK_SECONDS * 1000 / 2


async def test_new_endpoints_of_one_origin_share_its_slots_and_leave_some_to_another_workspace_s(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    counting = receiver.on_post = Counting()
    share = int(UNPROVEN * ORIGIN_SLOTS) // 2
    other = await broker.store.tenant("other")
    await start_worker(webhook_timeout=60)
    await asyncio.gather(*(owe(broker, url=receiver.url(f"/{number}")) for number in range(share + 3)))

    async def held() -> bool:
        return len(await broker.store.rows(select(_deliveries.c.id).where(_deliveries.c.held.is_not(None)))) == 3

    await until(held)
    await owe(broker, url=receiver.url("/another"), workspace=other.workspace)

    async def full() -> bool:
        return counting.now == share + 1

    await until(full)
    assert "/another" in {post.target for post in receiver.posts}
    counting.gate.set()
    await receiver.posted(share + 4)
    assert counting.most <= share + 1


async def hang_up(_: asyncio.StreamWriter) -> None:
    """Say nothing."""


@dataclass
class Counting:
    """What `on_post` of a receiver counts: POSTs that wait at its gate for their answer."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    now: int = 0
    most: int = 0

    async def __call__(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.gate.wait()
        self.now -= 1


async def test_an_endpoint_that_answers_is_sent_many_at_once_but_not_all(
    broker: Broker, worker: Worker, receiver: Receiver
) -> None:
    counting = receiver.on_post = Counting()
    counting.gate.set()
    await announce(broker, *[receiver.url()] * 4)
    await receiver.posted(4)
    counting.gate.clear()
    await announce(broker, *[receiver.url()] * (WIDEST + 4))

    async def full() -> bool:
        return counting.now == WIDEST

    await until(full)
    await owed(broker, WIDEST + 8)
    counting.gate.set()
    await receiver.posted(WIDEST + 8)
    assert counting.most == WIDEST
    assert len({post.headers["webhook-id"] for post in receiver.posts}) == WIDEST + 8


async def test_ten_failures_open_the_breaker_and_one_try_probes_it_later(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    async def held(count: int) -> None:
        async def so_many() -> bool:
            waiting = select(_deliveries.c.id).where(_deliveries.c.held.is_not(None))
            return len(await broker.store.rows(waiting)) == count

        await until(so_many)

    receiver.answers = [reply(500)]
    await start_worker(webhook_schedule=("0",) * 30)
    await announce(broker, receiver.url())
    await held(1)
    assert len(receiver.posts) == LEAST_CALLS
    await announce(broker, *[receiver.url("/hook?another=query")] * 2)
    await held(3)
    await start_worker(webhook_schedule=("0",) * 30)  # as after a restart: it knows of the breaker too
    assert len(receiver.posts) == LEAST_CALLS
    half_open = update(_endpoints).values(open_until=0)
    await broker.store.change(half_open)
    await receiver.posted(LEAST_CALLS + 1)
    await held(3)
    assert len(receiver.posts) == LEAST_CALLS + 1
    receiver.answers = [reply(200)]
    await broker.store.change(half_open)
    posts = await receiver.posted(LEAST_CALLS + 4)
    assert len({post.headers["webhook-id"] for post in posts[-3:]}) == 3
    row = await broker.store.row(select(_endpoints))
    assert (row.state, row.open_until) == ("healthy", None)


@dataclass
class KeptAlive:
    """A receiver that answers many POSTs on one connection."""

    url: str = ""
    connections: int = 0
    targets: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            self.targets.append((await read_post(reader)).target)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()


@asynccontextmanager
async def kept_alive() -> AsyncIterator[KeptAlive]:
    receiver = KeptAlive()
    async with listening(receiver.serve) as listener:
        receiver.url = f"http://127.0.0.1:{listener.port}"
        yield receiver


async def test_connections_to_one_origin_are_used_again(broker: Broker, worker: Worker) -> None:
    async with kept_alive() as receiver:
        paths: Sequence[str] = [f"/{number}" for number in range(5)]
        for number, path in enumerate(paths, start=1):
            await announce(broker, receiver.url + path)

            async def came(count: int = number) -> bool:
                rows = await broker.store.rows(select(_attempts.c.number).where(_attempts.c.status_code == 200))
                return len(rows) == count

            await until(came)
        assert (receiver.targets, receiver.connections) == (paths, 1)
