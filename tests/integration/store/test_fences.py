"""Fences: whatever became of a batch, a write of its former holder changes nothing of it.

Most of these losses leave the fencing number as it was, so that it takes the state of the batch, too, to tell.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import pytest

from broker.batches import Batch, Outcome, Overview, Result
from broker.store.children import Expansion, NewChild, add_children
from broker.store.claims import Claim
from broker.store.crashes import Announcement, Crash, announce_records, count_crashes
from broker.store.database import Database
from broker.store.ends import EndOrder, Finish, cancel_batches, finish_batches
from broker.store.leases import Beat, GiveBack, Lease, extend_leases, give_back_batches
from broker.store.pauses import pause_batches
from broker.store.results import Checkpoint, checkpoint_results
from broker.store.retries import RetryOrder, retry_batches
from tests.integration.store.rows import (
    EXPIRED,
    MINUTE,
    accept,
    claim,
    delivery,
    everything,
    finish,
    new_batch,
    rescue,
    result,
)

Loss: TypeAlias = Callable[[Database, Claim], Awaitable[object]]
Write: TypeAlias = Callable[[Database, Claim], Awaitable[object]]
"""Returns something false where it was refused."""


async def rescued(database: Database, _claimed: Claim) -> None:
    assert await rescue(database)


async def claimed_again(database: Database, claimed: Claim) -> None:
    """By the same worker, so that its name does not tell."""
    await rescued(database, claimed)
    assert await claim(database)


async def finished(database: Database, claimed: Claim) -> None:
    assert await database.writer.write(finish_batches, finish(claimed, result(0, code=500)))


async def retried(database: Database, claimed: Claim) -> None:
    await finished(database, claimed)
    assert isinstance(await database.writer.write(retry_batches, RetryOrder(claimed.id, all_records=True)), Overview)


async def cancelled(database: Database, claimed: Claim) -> None:
    def end(batch: Batch, _stored: Sequence[Result]) -> Finish:
        return Finish(Lease(batch.id, batch.lease_seq), batch.run, Outcome.CANCELLED, (result(code=499),), None)

    assert await database.writer.write(cancel_batches, EndOrder(claimed.id, end))


async def given_back_and_paused(database: Database, claimed: Claim) -> None:
    assert await give_back(database, claimed)
    assert await database.writer.write(pause_batches, claimed.id)


async def listed_to_the_end(database: Database, claimed: Claim) -> None:
    """A parent, which waits for its children without a lease."""
    assert await list_child(database, claimed)


async def listed_and_paused(database: Database, claimed: Claim) -> None:
    assert await list_child(database, claimed, cursor="page 2")
    assert await database.writer.write(pause_batches, claimed.id)


async def extend(database: Database, claimed: Claim) -> object:
    return await database.writer.write(extend_leases, Beat("worker", (claimed.lease,), MINUTE))


async def checkpoint(database: Database, claimed: Claim) -> object:
    return await database.writer.write(checkpoint_results, Checkpoint(claimed.lease, claimed.batch.run, (result(7),)))


async def end(database: Database, claimed: Claim) -> object:
    return await database.writer.write(finish_batches, finish(claimed, result(7), owed=delivery(claimed)))


async def give_back(database: Database, claimed: Claim) -> object:
    return await database.writer.write(give_back_batches, GiveBack(claimed.lease))


async def announce(database: Database, claimed: Claim) -> object:
    return await database.writer.write(announce_records, Announcement(claimed.lease, 7))


async def count_crash(database: Database, claimed: Claim) -> object:
    return await database.writer.write(count_crashes, Crash(claimed.lease, 0, max_crashes=1))


async def list_child(database: Database, claimed: Claim, cursor: str | None = None) -> object:
    child = NewChild(7 if cursor is None else 0, new_batch(claimed.batch.workspace))
    return await database.writer.write(add_children, Expansion(claimed.lease, (child,), cursor))


WRITES: tuple[Write, ...] = (extend, checkpoint, end, give_back, announce, count_crash, list_child)


@pytest.mark.parametrize(
    "loss",
    [
        rescued,
        claimed_again,
        finished,
        retried,
        cancelled,
        given_back_and_paused,
        listed_to_the_end,
        listed_and_paused,
    ],
)
async def test_a_write_after_the_lease_is_over_changes_nothing(
    database: Database, workspace_id: str, loss: Loss
) -> None:
    await accept(database, workspace_id)
    (claimed,) = await claim(database, lease_ms=EXPIRED)
    await loss(database, claimed)
    before = await everything(database)
    for write in WRITES:
        assert not await write(database, claimed), write.__name__
        assert await everything(database) == before, write.__name__


@pytest.mark.parametrize("write", WRITES)
async def test_the_same_write_by_the_holder_changes_something(
    database: Database, workspace_id: str, write: Write
) -> None:
    await accept(database, workspace_id)
    (claimed,) = await claim(database)
    before = await everything(database)
    assert await write(database, claimed)
    assert await everything(database) != before
