"""What becomes of a webhook that finds no turn at its endpoint, which answered quickly until a moment ago."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import update

from broker.deliveries import State
from broker.net.client import post_client
from broker.webhooks.lanes import WIDEST
from broker.webhooks.send import Sender
from broker.webhooks.turns import TURN_SECONDS
from tests.integration.owed import DELIVERIES, attempt_rows, delivery_row, owe
from tests.integration.receiver import Receiver
from tests.integration.running import Broker, until

WARM = 8


@pytest.fixture
async def answers_go_on(broker: Broker, receiver: Receiver) -> AsyncIterator[asyncio.Event]:
    """An endpoint with a sender whose lane there is as wide as any and full, until this is set."""
    go_on = asyncio.Event()

    async def hold() -> None:
        await go_on.wait()

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
        yield go_on
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def all_came(receiver: Receiver) -> bool:
    return len(receiver.posts) == WARM + WIDEST


async def test_who_finds_no_turn_takes_no_step_of_the_schedule_and_is_still_asked_for_by_who_replayed_it(
    broker: Broker, receiver: Receiver, answers_go_on: asyncio.Event
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
    answers_go_on.set()
    await broker.store.change(update(DELIVERIES).where(DELIVERIES.c.id.in_((scheduled, replayed))).values(due=0))
    await receiver.posted(WARM + WIDEST + 2)
