"""A try lasts no longer than its claim, and what came of it is recorded as long as the claim lasts."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack
from pathlib import Path
from weakref import WeakSet

from broker.net.client import post_client
from broker.store import postgresql, sqlite
from broker.store.database import open_database
from broker.store.writer import PATIENCE
from broker.webhooks.send import Sender
from tests.integration.owed import attempt_rows, delivery_row, owe
from tests.integration.receiver import Receiver
from tests.integration.running import Broker, StartWorker, until
from tests.integration.trap import Trap, waits


async def test_an_answer_that_the_database_does_not_take_at_first_is_recorded_later_and_not_asked_for_again(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    async with AsyncExitStack() as lock:

        async def begin() -> None:
            await lock.enter_async_context(broker.store.locked())

        receiver.on_post = begin
        await owe(broker, url=receiver.url())
        await start_worker()
        await receiver.posted()
        await asyncio.sleep(PATIENCE + 1)
        assert (await delivery_row(broker)).state == "pending"

    async def delivered() -> bool:
        return bool((await delivery_row(broker)).state == "delivered")

    await until(delivered)
    assert await attempt_rows(broker) == [(1, False, 200, None)]
    assert len(receiver.posts) == 1


async def test_who_is_held_up_until_its_claim_is_nearly_over_sends_nothing(
    broker: Broker, receiver: Receiver, database_url: str, tmp_path: Path
) -> None:
    """Stopped, or waiting for the secrets that it signs with. What it claimed is sent by the next who claims it."""
    core, theirs = broker.core, open_database(database_url, tmp_path)
    async with post_client(core.policy) as client, AsyncExitStack() as readers:
        for _ in range({"sqlite": sqlite.READERS, "postgresql": postgresql.READERS}[theirs.engine.dialect.name]):
            await readers.enter_async_context(theirs.reading())
        late = Sender(theirs, core.vault, client, (0, 0, 0), timeout=0.2, lease_margin=0.3)
        await owe(broker, url=receiver.url())
        sending = asyncio.create_task(late.run())

        async def claimed() -> bool:
            return bool((await delivery_row(broker)).lease_seq == 1)

        await until(claimed)
        await cancel(sending)
        await asyncio.sleep(0.5)
        await readers.aclose()
        await late.drain(5)
        assert receiver.posts == []
        next = asyncio.create_task(Sender(core.database, core.vault, client, (0, 0, 0), timeout=5).run())
        await receiver.posted()
        await cancel(next)
    await theirs.aclose()
    assert [number for number, *_ in await attempt_rows(broker)] == [1, 2]


async def test_a_sender_that_stops_sees_to_it_that_answers_which_came_are_recorded_and_cuts_off_other_tries(
    broker: Broker, receiver: Receiver
) -> None:
    """The database is away for longer than it waits for the answers that have not come. It keeps no try that ended."""
    core = broker.core
    async with post_client(core.policy) as client, AsyncExitStack() as lock, Trap(waits()).listen() as silent:
        sender = Sender(core.database, core.vault, client, (0, 3600), timeout=20)
        (hanging,) = await owe(broker, url=silent.url())
        (answered,) = await owe(broker, url=receiver.url())

        async def begin() -> None:
            await lock.enter_async_context(broker.store.locked())

        receiver.on_post = begin
        sending = asyncio.create_task(sender.run())
        await receiver.posted()
        await cancel(sending)
        names = {f"delivery {hanging}", f"delivery {answered}"}
        tries = WeakSet(task for task in asyncio.all_tasks() if task.get_name() in names)
        assert len(tries) == 2
        draining = asyncio.create_task(sender.drain(0.2))
        await asyncio.sleep(1)
        assert not draining.done()
        await lock.aclose()
        await draining
        await asyncio.sleep(0.1)
        gc.collect()
        assert list(tries) == []
    assert (await delivery_row(broker, answered)).state == "delivered"
    assert (await delivery_row(broker, hanging)).state == "pending"
    assert await attempt_rows(broker, hanging) == [(1, False, None, None)]


async def cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
