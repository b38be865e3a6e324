"""A worker whose own writer and readers hang while the database is well: its heartbeat goes on beside them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from broker.store import postgresql, sqlite
from broker.store.database import Database
from broker.store.writer import GROUP_BYTES
from tests.integration.running import StartBroker, StartWorker, until
from tests.integration.work.scene import Scene

LEASE = 3.0
PIECES, PIECE_SECONDS = 30, 0.15
"""Longer together than a lease. Between two of them, SQLite's one lock is free for other connections."""
READERS = {"sqlite": sqlite.READERS, "postgresql": postgresql.READERS}


@asynccontextmanager
async def exhausted(database: Database) -> AsyncIterator[None]:
    """Every reader is taken, and so much waits for the writer that it hangs for over a lease, to the end of this."""
    async with AsyncExitStack() as stack:
        for _ in range(READERS[database.engine.dialect.name]):
            await stack.enter_async_context(database.reading())
        start = time.monotonic()
        # Each fills a group of its own.
        pieces = [database.writer.write(_hang, PIECE_SECONDS, weight=GROUP_BYTES) for _ in range(PIECES)]
        hanging = asyncio.gather(*pieces, return_exceptions=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(PIECE_SECONDS):
                await database.ping()
        yield
        await hanging
        assert time.monotonic() - start > LEASE


def _hang(connection: Connection, pauses: Sequence[float]) -> list[None]:
    for seconds in pauses:
        if connection.dialect.name == "sqlite":
            time.sleep(seconds)
        else:
            connection.execute(select(func.pg_sleep(seconds)))
    return [None] * len(pauses)


async def test_lease_is_kept_while_the_workers_writer_and_readers_hang(
    hostile: Path, start_broker: StartBroker, start_worker: StartWorker, tmp_path: Path
) -> None:
    """Another worker, which looks for work meanwhile, gets none; what ended meanwhile is stored afterwards."""
    scene = Scene(await start_broker(), tmp_path)
    worker = await start_worker("hostile", lease_seconds=LEASE, worker_threads=2)
    last = tmp_path / "last"
    id = await scene.post(scene.held(), scene.held(last))
    await scene.began(2)
    await start_worker("hostile", lease_seconds=LEASE)
    async with exhausted(worker.work.core.database):
        scene.gate.touch()

    async def kept() -> bool:
        return await scene.stored() == [0]

    await until(kept)
    last.touch()
    records = (await scene.broker.done(id))["response"]["records"]
    assert [record["_status"]["code"] for record in records] == [200, 200]
    batch = await scene.batch()
    assert (batch.outcome, batch.lease_seq, batch.crashes) == ("succeeded", 1, 0)
    assert scene.noted() == {"0 started": 1, "1 started": 1}
