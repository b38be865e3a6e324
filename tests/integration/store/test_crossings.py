"""Two processes at one batch: what one has done and not committed yet, the other waits for or leaves alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar

import pytest
from msgspec import structs
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from broker.batches import OUTPUT, Refusal
from broker.store.chores import Turn, take_turn
from broker.store.claims import Claim
from broker.store.crashes import Crash, RescueOrder, count_crashes, rescue_batches
from broker.store.database import Database
from broker.store.ends import finish_batches
from broker.store.expiry import Expire, Kind, expire_blobs
from broker.store.group import Operation
from broker.store.leases import Beat, GiveBack, extend_leases, give_back_batches
from broker.store.retries import RetryOrder, retry_batches
from tests.integration.running import until
from tests.integration.store.ended import DAY, back_date
from tests.integration.store.rows import (
    EXPIRED,
    FOR_EVER,
    MINUTE,
    accept,
    claim,
    finish,
    rescue,
    result,
    select,
)
from tests.integration.store.waiting import WAITING

T = TypeVar("T")
R = TypeVar("R")
Act: TypeAlias = tuple[Operation[Any, Any], Any]
"""A write and its item."""
OUTPUTS = Expire(Kind.OUTPUTS, 3 * DAY, 100)


@asynccontextmanager
async def uncommitted(database: Database, database_url: str, act: Act) -> AsyncIterator[None]:
    """Another process has done this and commits it at the end; on SQLite, whose writers take turns, at once."""
    operation, item = act
    if database_url.startswith("sqlite"):
        await database.writer.write(operation, item)
        yield
        return
    engine = create_async_engine(make_url(database_url).set(drivername="postgresql+asyncpg"))
    try:
        async with engine.begin() as connection:
            await connection.run_sync(operation, [item])
            yield
    finally:
        await engine.dispose()


async def second(database: Database, database_url: str, first: Act, operation: Operation[T, R], item: T) -> R:
    """What a write brings that finds `first` not committed; that is committed once the write waits or is over."""
    async with uncommitted(database, database_url, first):
        writing = asyncio.create_task(database.writer.write(operation, item))

        async def met() -> bool:
            return writing.done() or (not database_url.startswith("sqlite") and await waits(database))

        await until(met)
    return await writing


async def waits(database: Database) -> bool:
    return await select(database, WAITING) == [(1,)]


@pytest.fixture
async def half_good(database: Database, workspace_id: str) -> str:
    """The id of a batch that ended long ago; its first record has an output, its second failed."""
    (id,) = await accept(database, workspace_id, size=2)
    (claimed,) = await claim(database)
    good = structs.replace(result(0), facts={"_output_url_full": {OUTPUT: "a.png"}})
    assert await database.writer.write(finish_batches, finish(claimed, good, result(1, code=500)))
    await back_date(database, id, 4 * DAY)
    await database.writer.write(take_turn, Turn(Kind.OUTPUTS, 0))
    return id


async def test_expiry_against_a_retry_leaves_the_outputs_to_the_next_run(
    database: Database, database_url: str, half_good: str
) -> None:
    retry = (retry_batches, RetryOrder(half_good, all_records=False))
    expired = await second(database, database_url, retry, expire_blobs, OUTPUTS)
    assert expired.gone == ()
    rows = await select(database, "SELECT status, run, outputs_expired FROM batches")
    assert rows == [("CREATED", 2, None)]


async def test_retry_against_expiry_is_refused(database: Database, database_url: str, half_good: str) -> None:
    order = RetryOrder(half_good, all_records=False)
    refused = await second(database, database_url, (expire_blobs, OUTPUTS), retry_batches, order)
    assert refused is Refusal.OUTPUTS_EXPIRED
    assert await select(database, "SELECT status, run FROM batches") == [("DONE", 1)]


def end(claimed: Claim) -> Act:
    return finish_batches, finish(claimed, result())


def beat(claimed: Claim) -> Act:
    return extend_leases, Beat("worker", (claimed.lease,), MINUTE)


def give_back(claimed: Claim) -> Act:
    return give_back_batches, GiveBack(claimed.lease)


def sweep(_claimed: Claim) -> Act:
    return rescue_batches, RescueOrder(100, MINUTE, 0, FOR_EVER, 3)


@pytest.mark.parametrize("act", [end, beat, give_back])
async def test_sweep_passes_over_a_batch_that_its_holder_is_just_writing(
    database: Database, database_url: str, workspace_id: str, act: Callable[[Claim], Act]
) -> None:
    """However late its holder is. The sweep does not wait for it, and rescues the others."""
    await accept(database, workspace_id, 2)
    kept, lost = await claim(database, lease_ms=EXPIRED)
    async with uncommitted(database, database_url, act(kept)):
        assert [batch.id for batch in await rescue(database)] == [lost.id]
    rows = await select(database, "SELECT id, crashes FROM batches ORDER BY crashes")
    assert rows == [(kept.id, 0), (lost.id, 1)]


@pytest.mark.parametrize("act", [end, give_back, sweep])
async def test_crash_in_a_batch_that_another_write_is_just_moving_is_not_counted(
    database: Database, database_url: str, workspace_id: str, act: Callable[[Claim], Act]
) -> None:
    """As when the sweep takes the batch for lost at the same time: that is one crash, not two."""
    await accept(database, workspace_id)
    (claimed,) = await claim(database, lease_ms=EXPIRED)
    crash = Crash(claimed.lease, MINUTE, 3)
    assert await second(database, database_url, act(claimed), count_crashes, crash) is None
    expected = {end: ("DONE", 0), give_back: ("CREATED", 0), sweep: ("CREATED", 1)}[act]
    assert await select(database, "SELECT status, crashes FROM batches") == [expected]
