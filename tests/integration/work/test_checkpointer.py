"""A checkpointer: what it collects within a second is stored together, also if it is closed or cancelled meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.batches import Result, new_id
from broker.store.database import Database, open_session
from broker.store.writer import Session, Work, Writer
from broker.work.checkpoint import Checkpointer
from tests.integration.store.rows import accept, claim, select

LOOP_TURNS = 10
"""More than there are from the end of a pause to the write that follows."""


class Door:
    """Writes wait before it until it is opened."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        self.writes = 0

    async def transact(self, work: Work, *, brief: bool = False, flush: bool = True, single: bool = False) -> list[Any]:
        self.writes += 1
        self.reached.set()
        await self.open.wait()
        return await self._session.transact(work, brief=brief, flush=flush, single=single)

    async def close(self) -> None:
        await self._session.close()


@pytest.fixture
async def door(database_url: str, tmp_path: Path) -> Door:
    return Door(open_session(database_url, tmp_path))


@pytest.fixture
async def checkpointer(database: Database, workspace_id: str, door: Door) -> AsyncIterator[Checkpointer]:
    """Of a batch of three records."""
    await accept(database, workspace_id)
    (claimed,) = await claim(database)
    writer = Writer(door)
    yield Checkpointer(replace(database, writer=writer), claimed.lease, 1, expected=3)
    await writer.aclose()


def result(place: int) -> Result:
    return Result(place, 200, "OK", new_id())


async def test_results_are_stored_together_a_second_after_the_first(
    database: Database, checkpointer: Checkpointer, door: Door
) -> None:
    """Pauses end in the order of their times, however busy the machine is."""
    checkpointer.add(result(0))
    await asyncio.sleep(0)  # the second begins
    await asyncio.sleep(0.8)
    assert not door.reached.is_set()
    checkpointer.add(result(1))
    await asyncio.sleep(0.4)
    for _ in range(LOOP_TURNS):
        await asyncio.sleep(0)
    assert door.reached.is_set()
    door.open.set()
    await checkpointer.close()
    assert ([result.index for result in checkpointer.stored], checkpointer.fresh) == ([0, 1], [])
    assert door.writes == 1
    assert await select(database, "SELECT position FROM results ORDER BY position") == [(0,), (1,)]


async def test_cancelling_whoever_closes_it_reaches_them_and_not_the_flush(
    database: Database, checkpointer: Checkpointer, door: Door
) -> None:
    checkpointer.add(result(0))
    await door.reached.wait()
    closing = asyncio.create_task(checkpointer.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    again = asyncio.create_task(checkpointer.close())
    for _ in range(LOOP_TURNS):
        await asyncio.sleep(0)
    assert not again.done()
    door.open.set()
    await again
    assert ([result.index for result in checkpointer.stored], checkpointer.fresh) == ([0], [])
    assert await select(database, "SELECT position FROM results") == [(0,)]


async def test_the_end_of_a_run_keeps_at_once_what_has_finished(
    database: Database, checkpointer: Checkpointer, door: Door
) -> None:
    door.open.set()
    checkpointer.add(result(0))
    checkpointer.add(result(1))
    await checkpointer.keep()
    assert ([result.index for result in checkpointer.stored], checkpointer.fresh) == ([0, 1], [])
    assert door.writes == 1
    assert await select(database, "SELECT position FROM results ORDER BY position") == [(0,), (1,)]
    await checkpointer.keep()
    assert door.writes == 1
