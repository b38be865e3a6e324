"""What becomes of a webhook that finds no turn at its endpoint, which answered quickly until a moment ago."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from sqlalchemy import update

from broker.deliveries import State
from broker.net.client import post_client
from broker.webhooks.lanes import WIDEST
from broker.webhooks.send import Sender
from broker.webhooks.turns import TURN_SECONDS
from tests.integration.net.servers import reply
from tests.integration.owed import DELIVERIES, attempt_rows, delivery_row, owe
from tests.integration.receiver import Receiver
from tests.integration.running import Broker, until

WARM = 8


@dataclass
class Held:
    """What the endpoint answers to those that fill its lane, once it goes on."""

    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    answer: bytes = reply(200)


@pytest.fixture
async def held(broker: Broker, receiver: Receiver) -> AsyncIterator[Held]:
    """An endpoint with a sender whose lane there is as wide as any, and full."""
    held = Held()

    async def hold() -> None:
        await held.go_on.wait()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(held.answer)

    receiver.answers = [answer]
    async with post_client(broker.core.policy) as client:
        sender = Sender(broker.core.database, broker.core.vault, client, (0, 0), timeout=20)
        sending = asyncio.create_task(sender.run())
        for sent in range(WARM):
            await owe(broker, url=receiver.url())
            sender.wake()
            await receiver.posted(sent + 1)
        receiver.on_post = hold
        await owe(broker, WIDEST, url=receiver.url())
        await until(lambda: all_came(receiver))
        yield held
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def all_came(receiver: Receiver) -> bool:
    return len(receiver.posts) == WARM + WIDEST


async def test_who_finds_no_turn_takes_no_step_of_the_schedule_and_is_still_asked_for_by_who_replayed_it(
    broker: Broker, receiver: Receiver, held: Held
) -> None:
    (scheduled,) = await owe(broker, url=receiver.url())
    (replayed,) = await owe(broker, url=receiver.url(), state=State.EXHAUSTED, manual=True)

    async def tried(error: str | None) -> bool:
        tries = [*await attempt_rows(broker, scheduled), *await attempt_rows(broker, replayed)]
        return tries == [(1, False, None, error), (1, True, None, None)]

    await until(lambda: tried(None))
    await asyncio.sleep(TURN_SECONDS)
    await until(lambda: tried("could not be sent"))
    row = await delivery_row(broker, scheduled)
    assert (row.state, row.attempts, row.step) == ("pending", 1, 0)
    row = await delivery_row(broker, replayed)
    assert (row.state, row.manual, row.due is None) == ("exhausted", True, False)
    held.go_on.set()
    await broker.store.change(update(DELIVERIES).where(DELIVERIES.c.id.in_((scheduled, replayed))).values(due=0))
    await receiver.posted(WARM + WIDEST + 2)


async def test_who_waits_at_an_endpoint_that_wants_no_more_is_not_sent(
    broker: Broker, receiver: Receiver, held: Held
) -> None:
    held.answer = reply(410)
    ids = await owe(broker, 2 * WIDEST, url=receiver.url())

    async def states() -> set[str]:
        return {(await delivery_row(broker, id)).state for id in ids}

    async def claimed() -> bool:
        return all([await attempt_rows(broker, id) for id in ids])

    async def stopped() -> bool:
        return await states() == {"stopped"}

    await until(claimed)
    held.go_on.set()
    await until(stopped)
    assert len(receiver.posts) == WARM + WIDEST
