"""What SQLite's event loop may do by itself: brief work, and commits that need no flush."""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError

from broker.batches import NewBatch
from broker.store.attempts import record_attempts
from broker.store.batches import insert_batches
from broker.store.claims import claim_batches
from broker.store.database import Database, open_session
from broker.store.ends import finish_batches
from broker.store.group import BRIEF_BYTES, Operation, Write, brief, needs_flush
from broker.store.leases import give_back_batches
from broker.store.results import checkpoint_results
from broker.store.sqlite import BRIEF_PAUSE, CHECKPOINT_PAGES, CHECKPOINT_PAUSE
from broker.store.writer import Session
from tests.integration.store.log_file import log_frames, log_size
from tests.integration.store.rows import accept, new_batch, stored


@brief
def threads(_connection: Connection, items: Sequence[None]) -> list[int]:
    """Brief work that says where it is done."""
    return [threading.get_ident() for _ in items]


async def test_brief_work_is_done_on_the_event_loop_unless_somebody_else_writes(
    sqlite: Database, file: Path, workspace: str
) -> None:
    assert await sqlite.writer.write(threads, None) == threading.get_ident()
    with file.with_name(file.name + ".lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write = asyncio.create_task(sqlite.writer.write(threads, None))
        await asyncio.sleep(0.1)
        fcntl.flock(lock, fcntl.LOCK_UN)
    assert await write != threading.get_ident()
    assert await sqlite.writer.write(threads, None) == threading.get_ident()
    assert await sqlite.writer.write(threads, None, weight=BRIEF_BYTES + 1) != threading.get_ident()


MANY = 5_000_000
COUNT = f"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {MANY}) SELECT max(n) FROM c"
"""Takes a second or so."""


def synchronous(connection: Connection) -> list[Any]:
    """How SQLite commits what this is part of: 2 flushes it (https://sqlite.org/pragma.html#pragma_synchronous)."""
    return [connection.exec_driver_sql("PRAGMA synchronous").scalar()]


def writes_of(*operations: Operation[Any, Any]) -> list[Write]:
    loop = asyncio.get_running_loop()
    return [Write(operation, None, 0, loop.create_future(), 0) for operation in operations]


async def test_only_claims_that_are_alone_need_no_flush() -> None:
    """A power cut ends all who know of a claim; what shares its commit may be known elsewhere."""
    assert not needs_flush(writes_of(claim_batches, claim_batches))
    for operation in (insert_batches, finish_batches, record_attempts, give_back_batches, checkpoint_results):
        assert needs_flush(writes_of(claim_batches, operation, claim_batches))


@pytest.mark.parametrize("brief", [True, False])
async def test_a_commit_is_flushed_unless_it_needs_none(sqlite_url: str, tmp_path: Path, brief: bool) -> None:
    session = open_session(sqlite_url, tmp_path)
    await session.transact(lambda _connection: [])  # connects
    seen = [await session.transact(synchronous, brief=brief, flush=flush) for flush in (True, False, True, True)]
    assert seen == [[2], [1], [2], [2]]
    await session.close()


async def commit_unflushed(session: Session, workspace: str) -> None:
    await session.transact(partial(insert_batches, rows=[new_batch(workspace)]), brief=True, flush=False)


async def lengthen(session: Session, file: Path, workspace: str) -> None:
    """Make the log long by one commit, so that it is so whoever ends logs."""
    batches = [new_batch(workspace, extra="x" * 100_000) for _ in range(50)]
    await session.transact(partial(insert_batches, rows=batches), flush=False)  # may take long
    assert log_frames(file) > 2 * CHECKPOINT_PAGES


@pytest.mark.parametrize("by_whom", ["a stranger", "another process of ours"])
async def test_a_commit_that_begins_the_log_is_not_made_on_the_event_loop(
    sqlite: Database, sqlite_url: str, tmp_path: Path, workspace: str, file: Path, by_whom: str
) -> None:
    """SQLite flushes the head of the log then, whatever is asked for."""
    session, other = open_session(sqlite_url, tmp_path), open_session(sqlite_url, tmp_path)
    await session.transact(lambda _connection: [])  # connects
    committed: list[int] = []

    def note(_connection: Connection) -> None:
        committed.append(threading.get_ident())

    async def end_the_log() -> None:
        if by_whom == "a stranger":
            with closing(sqlite3.connect(file)) as stranger:
                assert stranger.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
            assert log_size(file) == 0
            return
        await lengthen(other, file, workspace)
        await asyncio.sleep(CHECKPOINT_PAUSE)
        await other.transact(partial(insert_batches, rows=[new_batch(workspace)]))

    try:
        for _ in range(2):
            await end_the_log()
            event.listen(Engine, "commit", note)
            for _ in range(2):
                await commit_unflushed(session, workspace)
            event.remove(Engine, "commit", note)
            assert log_frames(file) < CHECKPOINT_PAGES / 2
    finally:
        await session.close()
        await other.close()
    assert [thread == threading.get_ident() for thread in committed] == [False, True, False, True]


async def test_commits_that_need_no_flush_leave_a_long_log_to_those_that_do(
    sqlite_url: str, tmp_path: Path, workspace: str, file: Path
) -> None:
    """To end it takes flushes."""
    session = open_session(sqlite_url, tmp_path)
    await session.transact(lambda _connection: [])  # connects
    for on_loop in (True, False):
        await lengthen(session, file, workspace)
        await asyncio.sleep(CHECKPOINT_PAUSE)
        for flush in (False, True):
            for _ in range(2):  # if the first ends it, the second begins the next one
                await session.transact(partial(insert_batches, rows=[new_batch(workspace)]), brief=on_loop, flush=flush)
            assert (log_frames(file) < CHECKPOINT_PAGES / 2) is flush
    await session.close()


async def test_brief_work_that_takes_long_is_done_anew_beside_the_event_loop(sqlite: Database, workspace: str) -> None:
    """As a claim may that has many batches of paused workspaces to pass over."""
    loop = asyncio.get_running_loop()
    places: list[int] = []
    behind: list[Future[int]] = []

    @brief
    def insert_and_count(on: Connection, batches: Sequence[NewBatch]) -> list[Any]:
        places.append(threading.get_ident())
        insert_batches(on, batches)
        counts = [on.exec_driver_sql(COUNT).scalar() for _ in batches]
        behind.append(asyncio.run_coroutine_threadsafe(sqlite.writer.write(threads, None), loop))
        return counts

    batch = new_batch(workspace)
    assert await sqlite.writer.write(insert_and_count, batch) == MANY
    assert await stored(sqlite) == {batch.id}
    assert len(places) == 2
    assert places[0] == threading.get_ident() != places[1]
    (write,) = behind
    assert await asyncio.wrap_future(write) != threading.get_ident()
    await asyncio.sleep(BRIEF_PAUSE)
    assert await sqlite.writer.write(threads, None) == threading.get_ident()


async def test_brief_work_that_fails_keeps_nobody_waiting(sqlite: Database, file: Path, workspace: str) -> None:
    (taken,) = await accept(sqlite, workspace)
    with pytest.raises(SQLAlchemyError):
        await sqlite.writer.write(insert_batches, structs.replace(new_batch(workspace), id=taken))
    with file.with_name(file.name + ".lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_brief_work_that_is_cancelled_amid_its_commit_is_stored_and_keeps_nobody_waiting(
    sqlite: Database, sqlite_url: str, tmp_path: Path, workspace: str
) -> None:
    session = open_session(sqlite_url, tmp_path)
    await session.transact(lambda _connection: [])  # connects
    batch = new_batch(workspace)

    def insert_and_cancel(on: Connection) -> list[Any]:
        committing.cancel()
        return insert_batches(on, [batch])

    committing = asyncio.ensure_future(session.transact(insert_and_cancel, brief=True))
    with pytest.raises(asyncio.CancelledError):
        await committing
    assert len(await accept(sqlite, workspace)) == 1
    assert batch.id in await stored(sqlite)
    await session.close()
