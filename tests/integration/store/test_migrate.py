"""Migrating: several processes at once, again and again; an unmigrated database is refused."""

from __future__ import annotations

import asyncio
import fcntl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from broker.errors import Misconfigured
from broker.store import schema
from broker.store.database import open_database
from broker.store.migrate import LOCK, downgrade, migrate
from broker.store.schema import REVISION, check_migrated
from tests.integration.store.rows import execute, select

MIGRATE = """
import asyncio, sys
from pathlib import Path
from broker.store.database import open_database
from broker.store.migrate import migrate
from broker.store.schema import check_migrated

async def main():
    database = open_database(sys.argv[1], Path())
    sys.stdin.readline()
    await migrate(database)
    await check_migrated(database)
    await database.aclose()

asyncio.run(main())
"""


def test_this_version_knows_its_newest_step() -> None:
    steps = Path(schema.__file__).with_name("migrations")
    assert ScriptDirectory(str(steps)).get_current_head() == REVISION


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[None]:
    """As while another process migrates."""
    if url.startswith("sqlite"):
        with Path(url.removeprefix("sqlite:///") + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        return
    connection = await asyncpg.connect(url)
    await connection.execute(f"SELECT pg_advisory_lock({LOCK})")
    yield
    await connection.close()


async def test_a_migration_that_takes_long_is_waited_for(empty_database_url: str, tmp_path: Path) -> None:
    """Longer than a write waits for its turn."""
    database = open_database(empty_database_url, tmp_path)
    with capture_logs() as logs:
        async with locked(empty_database_url):
            migrating = asyncio.create_task(migrate(database))
            while "store.unavailable" not in [line["event"] for line in logs]:
                assert not migrating.done()
                await asyncio.sleep(0.05)
        await migrating
    await check_migrated(database)
    await database.aclose()


async def test_processes_that_migrate_at_once_all_find_the_newest_schema(
    empty_database_url: str, tmp_path: Path
) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", MIGRATE, empty_database_url),
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(4)
    ]
    outcomes = await asyncio.gather(*[process.communicate(b"go\n") for process in processes])
    assert [(process.returncode, errors) for process, (_, errors) in zip(processes, outcomes, strict=True)] == [
        (0, b"")
    ] * 4
    database = open_database(empty_database_url, tmp_path)
    await check_migrated(database)
    assert await select(database, "SELECT version_num FROM alembic_version") == [(REVISION,)]
    await database.aclose()


async def test_migrating_again_changes_nothing(empty_database_url: str, tmp_path: Path) -> None:
    database = open_database(empty_database_url, tmp_path)
    await migrate(database)
    await execute(database, "INSERT INTO instance_facts (name, value) VALUES ('a', 'b')")
    await migrate(database)
    assert await select(database, "SELECT name, value FROM instance_facts") == [("a", "b")]
    await check_migrated(database)
    await database.aclose()


async def test_an_unmigrated_database_is_refused(empty_database_url: str, tmp_path: Path) -> None:
    database = open_database(empty_database_url, tmp_path)
    with pytest.raises(Misconfigured, match="broker migrate"):
        await check_migrated(database)
    await migrate(database)
    await check_migrated(database)
    await database.writer.write(downgrade, "base")
    with pytest.raises(Misconfigured, match="broker migrate"):
        await check_migrated(database)
    await database.aclose()


async def test_a_database_from_a_newer_version_is_refused(database_url: str, tmp_path: Path) -> None:
    database = open_database(database_url, tmp_path)
    await execute(database, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Misconfigured, match="broker migrate"):
        await check_migrated(database)
    await database.aclose()


async def test_a_migration_that_fails_leaves_nothing_behind(empty_database_url: str, tmp_path: Path) -> None:
    database = open_database(empty_database_url, tmp_path)
    await execute(database, "CREATE TABLE tokens (id TEXT)")
    with pytest.raises(DBAPIError, match="tokens"):
        await migrate(database)
    await execute(database, "DROP TABLE tokens")
    await migrate(database)
    await check_migrated(database)
    await database.aclose()


async def test_a_missing_table_is_not_taken_for_an_outage(empty_database_url: str, tmp_path: Path) -> None:
    database = open_database(empty_database_url, tmp_path)
    with pytest.raises(DBAPIError, match="batches"):
        await execute(database, "DELETE FROM batches")
    with pytest.raises(DBAPIError, match="batches"):
        await select(database, "SELECT * FROM batches")
    await database.aclose()
