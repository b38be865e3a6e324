"""Nudges that Redis loses under load: what waits is found by an idle worker's look into SQL, once a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from redis.asyncio import Redis

from broker.queue.connection import bell_name, end
from tests.acceptance.fleet import Fleet
from tests.acceptance.load import Load
from tests.acceptance.processes import SECONDS, Commands

SPELL_SECONDS = 3.0
INTERVAL_SECONDS = 1.0
"""Between two looks of an idle worker."""
LISTENERS = 500
"""More than bells ring in the test, those included that the sweep repeats for batches which wait for seconds."""


@dataclass
class DeafListeners:
    """Clients that stand before the workers and hear each bell in their place, whereupon they only empty Redis.

    FLUSHALL alone cannot take a bell from a worker that listens: Redis hands it over within the command that rings.
    """

    url: str
    heard: int = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async with Redis.from_url(self.url) as redis:
            listeners = [asyncio.create_task(self._listen(redis)) for _ in range(LISTENERS)]
            try:
                async with asyncio.timeout(SECONDS):
                    while (await redis.info("clients"))["blocked_clients"] < LISTENERS:
                        await asyncio.sleep(0.01)
                yield
            finally:
                await asyncio.gather(*map(end, listeners))

    async def _listen(self, redis: Redis) -> None:
        while True:
            await cast("Awaitable[object]", redis.blpop([bell_name("sleepy")]))
            self.heard += 1
            await redis.flushall()


def waits(fleet: Fleet, load: Load) -> list[float]:
    """Seconds from acceptance to DONE by the database's clock, in order of length."""
    rows = [fleet.rows("batches", id)[0] for id in load.accepted]
    return sorted((row["finished"] - row["created"]) / 1000 for row in rows)


def most(waits: Sequence[float]) -> float:
    """What nine in ten waits do not exceed."""
    return waits[len(waits) * 9 // 10]


async def test_flushall_under_load_costs_no_batch_more_than_the_pause_between_two_looks(
    sleepy_commands: Commands, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """With a lease so long that nothing is found by its end; compared with the same load before."""
    fleet = Fleet(sleepy_commands.with_environment(BROKER_LEASE_SECONDS="600"), database_url, redis_url)
    api, deaf = fleet.start_web(), DeafListeners(redis_url)
    fleet.start_worker()
    heeded, lost = (Load(api, tmp_path / "runs") for _ in range(2))
    with heeded.running(customers=1):
        await asyncio.sleep(SPELL_SECONDS)
    async with deaf.listening():
        with lost.running(customers=1):
            await asyncio.sleep(SPELL_SECONDS)
        for id in lost.accepted:
            await asyncio.to_thread(api.done, id)
    assert (heeded.wrong, lost.wrong) == ([], [])
    assert deaf.heard > len(lost.accepted) / 2 > 1
    assert most(waits(fleet, lost)) < most(waits(fleet, heeded)) + 3 * INTERVAL_SECONDS
