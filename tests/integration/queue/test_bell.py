"""The bell that says DONE."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from broker.queue.bell import CHANNEL, DoneBell
from broker.queue.connection import connect, disconnect
from tests.integration.queue.ledger import NEVER, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from arq import ArqRedis

    from broker.queue.embedded import EmbeddedValkey


@pytest.fixture
async def here(valkey: EmbeddedValkey) -> AsyncIterator[DoneBell]:
    bell = DoneBell(valkey.url)
    await bell.start()
    yield bell
    await bell.aclose()


@pytest.fixture
async def there(valkey: EmbeddedValkey) -> AsyncIterator[DoneBell]:
    bell = DoneBell(valkey.url)
    await bell.start()
    yield bell
    await bell.aclose()


async def heard(bell: DoneBell, batch_id: str, seconds: float) -> bool:
    """Whether the batch is announced in time."""
    with bell.expecting(batch_id) as done, suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await done.wait()
    return done.is_set()


async def test_a_waiter_hears_of_its_batch_from_another_process(
    here: DoneBell, there: DoneBell, redis: ArqRedis
) -> None:
    waiters = [asyncio.create_task(heard(here, f"b-{n % 2}", NEVER)) for n in range(4)]
    await _subscribed(redis, 1)
    there.announce_done(["other", "b-0"])
    assert await waiters[0]
    assert await waiters[2]
    assert not waiters[1].done()
    there.announce_done(["b-1"])
    assert await waiters[1]
    assert await waiters[3]


async def test_a_thousand_waiters_share_one_subscription(here: DoneBell, there: DoneBell, redis: ArqRedis) -> None:
    waiters = [asyncio.create_task(heard(here, f"b-{n}", NEVER)) for n in range(1000)]
    await _subscribed(redis, 1)
    there.announce_done(f"b-{n}" for n in range(1000))
    assert all(await asyncio.gather(*waiters))
    assert await redis.pubsub_numsub(CHANNEL) == [(CHANNEL.encode(), 1)]


async def test_what_is_announced_between_the_look_and_the_wait_is_heard(
    here: DoneBell, there: DoneBell, redis: ArqRedis
) -> None:
    with here.expecting("b-0"):
        await _subscribed(redis, 1)
    with here.expecting("b-1") as done:
        there.announce_done(["b-1"])
        await until(done.is_set)


async def test_waiting_ends_at_its_timeout(here: DoneBell) -> None:
    assert await heard(here, "b-0", 0.05) is False


async def test_without_redis_or_while_it_is_down_the_timeout_passes(valkey: EmbeddedValkey, here: DoneBell) -> None:
    valkey.stop()
    deaf = DoneBell(None)
    await deaf.start()
    for bell in (deaf, here):
        bell.announce_done(["b-0"])
        assert await heard(bell, "b-0", 0.05) is False
    await deaf.aclose()


async def test_the_subscription_returns_after_an_outage(valkey: EmbeddedValkey, here: DoneBell) -> None:
    with here.expecting("b-0") as done:
        valkey.stop()
        valkey.start()
        client = connect(valkey.url)
        await _subscribed(client, 1)
        here.announce_done(["b-0"])
        await until(done.is_set)
        await disconnect(client)


async def test_the_subscription_returns_after_its_connection_was_killed(
    here: DoneBell, there: DoneBell, redis: ArqRedis
) -> None:
    for n in range(3):
        with here.expecting(f"b-{n}") as done:
            await _subscribed(redis, 1)
            await redis.client_kill_filter(_type="pubsub")
            await _subscribed(redis, 1)
            there.announce_done([f"b-{n}"])
            await until(done.is_set)


async def _subscribed(redis: ArqRedis, count: int) -> None:
    async with asyncio.timeout(NEVER / 2):
        while (await redis.pubsub_numsub(CHANNEL))[0][1] != count:
            await asyncio.sleep(0.01)
