"""What becomes of a webhook that finds no turn at its endpoint, which answered quickly until a moment ago."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from broker.deliveries import State
from broker.net.client import post_client
from broker.webhooks.lanes import WIDEST
from broker.webhooks.send import Sender
from broker.webhooks.turns import TURN_SECONDS
from tests.integration.net.servers import reply
from tests.integration.owed import attempt_rows, delivery_row, owe
from tests.integration.receiver import Receiver
from tests.integration.running import PATIENCE, Broker, until

WARM = 8


@dataclass
class Held:
    """What the endpoint answers to those that fill its lane, once it goes on."""

    sender: Sender
    sending: asyncio.Task[None]
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    answer: bytes = reply(200)


@pytest.fixture
async def held(broker: Broker, receiver: Receiver) -> AsyncIterator[Held]:
    """An endpoint with a sender whose lane there is as wide as any, and full."""
    async with post_client(broker.core.policy) as client:
        sender = Sender(broker.core.database, broker.core.vault, client, (0, 0), timeout=20)
        held = Held(sender, asyncio.create_task(sender.run()))

        async def hold() -> None:
            await held.go_on.wait()

        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(held.answer)

        receiver.answers = [answer]
        await earn(broker, receiver, sender)
        receiver.on_post = hold
        await owe(broker, WIDEST, url=receiver.url())
        await until(lambda: all_came(receiver))
        yield held
        held.sending.cancel()
        await asyncio.gather(held.sending, return_exceptions=True)


async def earn(broker: Broker, receiver: Receiver, sender: Sender) -> None:
    """So many quick answers, one after the other, that as many as ever may wait for their turn."""
    for sent in range(WARM):
        await owe(broker, url=receiver.url())
        sender.wake()
        await receiver.posted(sent + 1)


async def all_came(receiver: Receiver) -> bool:
    return len(receiver.posts) == WARM + WIDEST


async def test_who_finds_no_turn_is_put_back_as_if_nobody_had_claimed_it(
    broker: Broker, receiver: Receiver, held: Held
) -> None:
    (scheduled,) = await owe(broker, url=receiver.url())
    (replayed,) = await owe(broker, url=receiver.url(), state=State.EXHAUSTED, manual=True)

    async def begun() -> bool:
        tries = [*await attempt_rows(broker, scheduled), *await attempt_rows(broker, replayed)]
        return tries == [(1, False, None, None), (1, True, None, None)]

    async def put_back() -> bool:
        """And held until the endpoint has room, not begun again and again."""
        rows = [await delivery_row(broker, id) for id in (scheduled, replayed)]
        tries = [*await attempt_rows(broker, scheduled), *await attempt_rows(broker, replayed)]
        return not tries and all(row.held is not None for row in rows)

    await until(begun)
    await asyncio.sleep(TURN_SECONDS)
    await until(put_back)
    row = await delivery_row(broker, scheduled)
    assert (row.state, row.attempts, row.step) == ("pending", 0, 0)
    row = await delivery_row(broker, replayed)
    assert (row.state, row.attempts, row.manual) == ("exhausted", 0, True)
    held.go_on.set()
    await receiver.posted(WARM + WIDEST + 2)


async def test_an_endpoint_that_slows_down_amid_a_burst_is_told_of_no_try_that_was_not_made(
    broker: Broker, receiver: Receiver
) -> None:
    """More wait for its quick answers than have their turn in time once it takes a second for each."""
    burst = int(1.5 * WIDEST * TURN_SECONDS)

    async def slow() -> None:
        await asyncio.sleep(1)

    async def all_answered() -> bool:
        return await attempt_rows(broker) == [(1, False, 200, None)] * (WARM + burst)

    async with post_client(broker.core.policy) as client:
        sender = Sender(broker.core.database, broker.core.vault, client, (0, 0), timeout=20)
        sending = asyncio.create_task(sender.run())
        await earn(broker, receiver, sender)
        receiver.on_post = slow
        await owe(broker, burst, url=receiver.url())
        sender.wake()
        await receiver.posted(WARM + burst)
        await until(all_answered)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_an_endpoint_that_was_not_asked_after_all_keeps_its_lane(broker: Broker, receiver: Receiver) -> None:
    """As where a process that was stopped wakes too late for what it had claimed."""
    go_on = asyncio.Event()

    async def hold() -> None:
        await go_on.wait()

    async with post_client(broker.core.policy) as client:
        sender = Sender(broker.core.database, broker.core.vault, client, (0, 0), timeout=20)
        sending = asyncio.create_task(sender.run())
        await earn(broker, receiver, sender)
        margin, sender.lease_margin = sender.lease_margin, -1.0
        (late,) = await owe(broker, url=receiver.url())
        sender.wake()

        async def begun() -> bool:
            return bool(await attempt_rows(broker, late))

        await until(begun)
        sender.lease_margin = margin
        receiver.on_post = hold
        await owe(broker, WIDEST, url=receiver.url())
        sender.wake()
        await until(lambda: all_came(receiver))
        go_on.set()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_what_waits_for_its_turn_when_its_process_stops_is_left_to_others_at_once(
    broker: Broker, receiver: Receiver, held: Held
) -> None:
    held.sender._turns.seconds = 2 * PATIENCE
    ids = await owe(broker, 3, url=receiver.url())

    async def begun() -> bool:
        return all([await attempt_rows(broker, id) for id in ids])

    held.sender.wake()
    await until(begun)
    held.sending.cancel()
    await asyncio.gather(held.sending, return_exceptions=True)
    draining = asyncio.create_task(held.sender.drain(seconds=5))

    async def left() -> bool:
        return not any([await attempt_rows(broker, id) for id in ids])

    await until(left)
    held.go_on.set()
    await draining
    assert len(receiver.posts) == WARM + WIDEST


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
