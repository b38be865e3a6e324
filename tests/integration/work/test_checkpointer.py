"""A checkpointer that is cancelled or closed in the middle of a flush."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest
from sqlalchemy import Connection

from broker.batches import Result, new_id
from broker.store.database import Database
from broker.work import checkpoint
from broker.work.checkpoint import Checkpointer
from tests.integration.store.rows import accept, claim, select


def busy(_connection: Connection, seconds: Sequence[float]) -> list[None]:
    """A write that takes its time, so that those behind it wait."""
    time.sleep(sum(seconds))
    return [None] * len(seconds)


async def test_cancelling_whoever_closes_it_reaches_them_and_not_the_flush(
    database: Database, workspace_id: str
) -> None:
    await accept(database, workspace_id)
    (claimed,) = await claim(database)
    checkpointer = Checkpointer(database, claimed.lease, 1, expected=2)
    checkpointer.add(Result(0, 200, "OK", new_id()))
    await asyncio.sleep(checkpoint.DELAY - 0.2)
    holding = asyncio.create_task(database.writer.write(busy, 0.6))
    await asyncio.sleep(0.4)  # the flush has begun and waits behind the busy write
    closing = asyncio.create_task(checkpointer.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await holding
    await checkpointer.close()
    assert ([result.index for result in checkpointer.stored], checkpointer.fresh) == ([0], [])
    assert await select(database, "SELECT position FROM results") == [(0,)]
