"""Who gets the slots of a process that has few left, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from broker.net.client import post_client
from broker.webhooks.lanes import SLOTS
from broker.webhooks.send import LOOK_SECONDS, Sender
from tests.integration.owed import change_endpoint, owe
from tests.integration.receiver import PATIENCE, Receiver
from tests.integration.running import Broker


@pytest.fixture
async def busy(broker: Broker) -> AsyncIterator[Sender]:
    """A sender with one slot left: others that answered once have a try under way each."""
    async with post_client(broker.core.policy) as client:
        sender = Sender(broker.core.database, broker.core.vault, client, (0, 0), timeout=20)
        for other in range(SLOTS - 1):
            where = (f"endpoint {other}", f"origin {other}", f"workspace {other}")
            sender._lanes.begin(*where)
            sender._lanes.end(*where, (200, 0.1))
            sender._lanes.begin(*where)
        yield sender


async def owe_held(broker: Broker, url: str, count: int) -> None:
    await owe(broker, count, url=url, due=None, held=1)
    await change_endpoint(broker, url, holding=True)


async def test_what_is_held_does_not_wait_in_a_busy_process_until_nothing_new_is_due(
    broker: Broker, receiver: Receiver, busy: Sender
) -> None:
    await owe_held(broker, receiver.url("/held"), 2)

    async def owe_one_more() -> None:
        await owe(broker, url=receiver.url("/due"))

    receiver.on_post = owe_one_more
    await owe_one_more()
    sending = asyncio.create_task(busy.run())
    posts = await receiver.posted(2)
    await stop(busy, sending)
    assert {post.target for post in posts} == {"/held", "/due"}


async def test_a_slot_that_becomes_free_is_used_before_the_next_look(
    broker: Broker, receiver: Receiver, busy: Sender
) -> None:
    """So many are owed, one after the other, that looks would take longer than anybody waits for them here."""
    many = int(2 * PATIENCE / LOOK_SECONDS)
    await owe_held(broker, receiver.url(), many)
    sending = asyncio.create_task(busy.run())
    await receiver.posted(many)
    await stop(busy, sending)


async def stop(sender: Sender, sending: asyncio.Task[None]) -> None:
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await sender.drain(5)
