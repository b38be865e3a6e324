"""Batches that wait for a worker, all there before it starts, and what became of them once it has drained them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from bench import servers
from broker.batches import NewBatch, Record, new_id
from broker.queue.nudge import Nudger
from broker.store.batches import insert_batches
from broker.store.database import Database, open_database
from broker.store.rows import dump_records

PICTURE = b"\0"
"""Of every record: the handlers of benches look at none, but it is read for them."""
LOOK_SECONDS = 0.2
STALL_SECONDS = 30.0


@dataclass(frozen=True)
class Place:
    """An installation: the settings of its processes, and where its data is."""

    environment: Mapping[str, str]
    data_dir: Path
    database_url: str
    redis_url: str


@dataclass(frozen=True)
class End:
    """Of one batch. finished: ms since 1970 by the database's clock. facts: its record's, as JSON."""

    id: str
    finished: int
    facts: str


async def queue_up(place: Place, batch_type: str, number: int) -> list[str]:
    """Queue batches of one record as the accept path does, by the store's own INSERT and nudges; their ids, by rank.

    Each has a small picture.
    """
    database, nudger = open_database(place.database_url, place.data_dir), Nudger(place.redis_url)
    await nudger.start()
    try:
        workspace = await _workspace(database)
        batches = [_batch(workspace, batch_type) for _ in range(number)]
        await asyncio.gather(*(database.writer.write(insert_batches, batch, weight=batch.weight) for batch in batches))
        nudger.ring((batch_type, batch.id) for batch in batches)
        return [batch.id for batch in batches]
    finally:
        await nudger.aclose()
        await database.aclose()


async def settle(place: Place) -> None:
    """Until none is open. Raises TimeoutError when no more of them end."""
    database = open_database(place.database_url, place.data_dir)
    try:
        left, moved = -1, time.monotonic()
        while left:
            await asyncio.sleep(LOOK_SECONDS)
            async with database.reading() as connection:
                now = int(await connection.scalar(text("SELECT count(*) FROM batches WHERE status <> 'DONE'")) or 0)
            if now != left:
                left, moved = now, time.monotonic()
            if time.monotonic() - moved > STALL_SECONDS:
                raise TimeoutError(f"{left} batches stay open")
    finally:
        await database.aclose()


async def ends(place: Place, ids: Sequence[str]) -> list[End]:
    """Of these batches, in this order. Raises RuntimeError unless each of them ran once and came to a good end."""
    database = open_database(place.database_url, place.data_dir)
    try:
        async with database.reading() as connection:
            rows = (await connection.execute(text(_ENDS), {"first": ids[0], "last": ids[-1]})).all()
    finally:
        await database.aclose()
    found = {str(row.id): End(str(row.id), row.finished, row.facts) for row in rows}
    if len(rows) != len(ids) or found.keys() != set(ids):
        raise RuntimeError(f"{len(ids)} batches were queued, and {len(found)} ran once, to a good end")
    return [found[id] for id in ids]


_ENDS = """
SELECT b.id, b.finished, r.facts FROM batches b JOIN results r ON r.batch_id = b.id AND r.run = b.run
WHERE b.id BETWEEN :first AND :last AND b.outcome = 'succeeded' AND b.lease_seq = 1
"""


async def _workspace(database: Database) -> str:
    async with database.reading() as connection:
        named = text("SELECT id FROM workspaces WHERE name = :name")
        return str(await connection.scalar(named, {"name": servers.WORKSPACE}))


def _batch(workspace: str, batch_type: str) -> NewBatch:
    return NewBatch(
        id=new_id(),
        workspace=workspace,
        dialect="ximilar",
        type=batch_type,
        endpoint=batch_type,
        params="{}",
        records=dump_records((Record(id=new_id(), small=True),)),
        extra="{}",
        size=1,
        base_url="http://localhost",
        pictures={0: PICTURE},
    )
