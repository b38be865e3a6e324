"""Fills a database with batches, most of them DONE with their results, by `INSERT … SELECT`: a million a minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from broker.batches import new_id
from broker.store.database import open_database
from broker.store.workspaces import NewWorkspace, insert_workspaces

TYPE = "upscaler"
CHUNK = 50_000
"""Rows of one transaction: a second's work."""
PARTS = 20
"""Of so many batches of a workspace one is CREATED and one failed; the others succeeded."""


@dataclass(frozen=True)
class _Chunk:
    """Batches from number `first` to `end`, which is not one of them."""

    first: int
    end: int


def id_of(number: int) -> str:
    """The id of a batch by its number, from 0. They are dealt to the workspaces in turn, in the order of names."""
    return f"01890000-0000-7000-8000-{FIRST + number}"


async def fill(data_dir: Path, database_url: str, owner: str, batches: int, workspaces: int) -> None:
    """Make batches of the workspace `owner`, which is there, and of new ones: `workspaces` in all."""
    database = open_database(database_url, data_dir)
    try:
        for number in range(1, workspaces):
            await database.writer.write(insert_workspaces, NewWorkspace(new_id(), f"{owner}-{number}", b""))
        for first in range(0, batches, CHUNK):
            await database.writer.write(_insert, _Chunk(first, min(first + CHUNK, batches)))
        await database.writer.write(_analyze, None)
        if database.engine.dialect.name == "postgresql":
            await _vacuum(database.engine.url)
    finally:
        await database.aclose()


def _insert(connection: Connection, chunks: Sequence[_Chunk]) -> list[None]:
    as_id = "CAST({} AS UUID)" if connection.dialect.name == "postgresql" else "{}"
    for chunk in chunks:
        for statement in (_BATCHES, _RESULTS):
            values = {"first": chunk.first, "end": chunk.end}
            connection.execute(text(statement.replace("ID", as_id.format(_ID))), values)
    return [None] * len(chunks)


def _analyze(connection: Connection, times: Sequence[None]) -> Sequence[None]:
    connection.execute(text("ANALYZE"))
    return times


async def _vacuum(url: URL) -> None:
    """As the server does by itself within a minute of such inserts; before, each row of an index is looked up."""
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text("VACUUM"))
    await engine.dispose()


FIRST = 100_000_000_000
_ID = f"'01890000-0000-7000-8000-' || CAST({FIRST} + n AS TEXT)"
_NUMBERS = f"""
    WITH RECURSIVE numbers (n) AS (
        SELECT CAST(:first AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < CAST(:end AS BIGINT)
    ),
    owners AS (SELECT id, row_number() OVER (ORDER BY name) - 1 AS place, count(*) OVER () AS many FROM workspaces),
    dealt AS (SELECT n, id AS workspace_id, (n / many) % {PARTS} AS part FROM numbers JOIN owners ON place = n % many)
"""
_BATCHES = f"""
    INSERT INTO batches (
        id, workspace_id, dialect, type, endpoint, params, records, extra, pinned, size, base_url, status, outcome,
        run, rank, due, lease_seq, crashes, doubts, created, modified, finished
    )
    {_NUMBERS}
    SELECT
        ID, workspace_id, 'ximilar', '{TYPE}', 'upscale_2x', '{{}}',
        '[{{"id": "1", "url": "https://example.com/1.jpg"}}]', '{{}}', '[]', 1, 'http://127.0.0.1',
        CASE part WHEN 0 THEN 'CREATED' ELSE 'DONE' END,
        CASE part WHEN 0 THEN NULL WHEN 1 THEN 'failed' ELSE 'succeeded' END,
        1, n, n, CASE part WHEN 0 THEN 0 ELSE 1 END, 0, 0, n, n, CASE part WHEN 0 THEN NULL ELSE n END
    FROM dealt ORDER BY dealt.n
"""
_RESULTS = f"""
    INSERT INTO results (batch_id, position, run, lease_seq, code, text, request_id, facts, finished)
    {_NUMBERS}
    SELECT ID, 0, 1, 1, CASE part WHEN 1 THEN 404 ELSE 200 END, 'OK', ID, '{{}}', n FROM dealt WHERE part > 0
"""
