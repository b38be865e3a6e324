"""What small pictures leave of the database's file when they go."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection

from broker.batches import Record
from broker.media.blobs import open_blobs
from broker.store.database import SQLITE_FILE, Database, open_database
from broker.store.ends import finish_batches
from broker.store.migrate import migrate
from broker.store.rows import dump_records
from broker.store.shrink import SPARE, shrink_file
from broker.work.retention import Retention
from tests.integration.store.ended import DAY, MINUTE, recorded
from tests.integration.store.rows import accept, claim, execute, finish, new_workspace, result

PICTURE = os.urandom(30_000)
BATCHES = 200
MANY = 20_000


def facts(file: Path) -> tuple[int, int, int]:
    """The file's bytes once its log is emptied, its pages, and how many of those lie free. It is sound."""
    with closing(sqlite3.connect(file)) as other:
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        pages, free = (other.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    return file.stat().st_size, pages, free


async def pictures(database: Database, workspace: str, count: int) -> list[str]:
    records = dump_records((Record("1", small=True),))
    return [
        id for _ in range(count) for id in await accept(database, workspace, records=records, pictures={0: PICTURE})
    ]


async def statements_of(database: Database) -> str:
    """By which a piece is given back, if any is."""

    def shrink(connection: Connection, turns: Sequence[None]) -> list[str]:
        with recorded(connection) as seen:
            assert shrink_file(connection, turns) == [0]
        return ["\n".join(statement for statement, _ in seen)]

    return await database.writer.write(shrink, None)


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    """A new file, as the product makes it."""
    database = open_database("", tmp_path)
    await migrate(database)
    yield database
    await database.aclose()


async def test_the_disk_gets_back_what_expired_pictures_took(sqlite: Database, tmp_path: Path) -> None:
    """Or a broker that refuses POSTs for want of free disk would go on so when nothing is left of what took it."""
    workspace = await new_workspace(sqlite)
    await pictures(sqlite, workspace, BATCHES)
    for claimed in await claim(sqlite, BATCHES):
        assert await sqlite.writer.write(finish_batches, finish(claimed, result()))
    await execute(sqlite, "UPDATE batches SET finished = finished - :ms", ms=2 * DAY)
    (fresh,) = await pictures(sqlite, workspace, 1)
    before, _, _ = facts(tmp_path / SQLITE_FILE)
    assert before > BATCHES * len(PICTURE)
    await Retention(sqlite, open_blobs("", tmp_path), DAY, 30 * DAY, 30 * DAY).once()
    after, pages, free = facts(tmp_path / SQLITE_FILE)
    assert after < before / 4
    assert 0 < free <= pages / SPARE  # room for what comes next
    (kept,) = await claim(sqlite)
    assert (kept.id, kept.pictures) == (fresh, {0: PICTURE})


async def test_what_takes_long_to_give_back_holds_up_neither_writes_nor_what_expires(
    sqlite: Database, tmp_path: Path
) -> None:
    """One piece is a part of it, and one look as many pieces as there is time for; the next look goes on."""
    await execute(sqlite, "CREATE TABLE waste (bytes BLOB)")
    numbers = f"WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT {MANY})"
    await execute(sqlite, f"INSERT INTO waste {numbers} SELECT zeroblob(4000) FROM numbers")
    await execute(sqlite, "DROP TABLE waste")
    assert 0 < await sqlite.writer.write(shrink_file, None) < MANY / 2
    retention = Retention(sqlite, open_blobs("", tmp_path), DAY, DAY, DAY, shrink_seconds=0)
    for _ in range(2):
        assert 0 < await retention.shrink() < MANY / 2
    _, pages, free = facts(tmp_path / SQLITE_FILE)
    assert free > pages / SPARE
    assert await replace(retention, shrink_seconds=MINUTE).shrink() > 0
    _, pages, free = facts(tmp_path / SQLITE_FILE)
    assert free <= pages / SPARE


async def test_a_file_that_was_made_to_keep_its_size_is_left_as_it_is(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / SQLITE_FILE)) as old:
        old.execute("PRAGMA journal_mode = WAL")
    database = open_database("", tmp_path)
    await migrate(database)
    await pictures(database, await new_workspace(database), 20)
    await execute(database, "DELETE FROM pictures")
    before = facts(tmp_path / SQLITE_FILE)
    assert before[2] > 20
    assert "incremental_vacuum" not in await statements_of(database)
    assert facts(tmp_path / SQLITE_FILE) == before
    await database.aclose()


async def test_a_server_sees_to_its_files_by_itself(postgresql_url: str, tmp_path: Path) -> None:
    database = open_database(postgresql_url, tmp_path)
    assert await database.writer.write(shrink_file, None) == 0
    await database.aclose()
