"""Tallies are exact at every moment, whoever writes meanwhile; what PostgreSQL's statements told is added up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.store.database import Database, open_database
from broker.store.deletions import delete_batches
from broker.store.ends import finish_batches
from broker.store.tallies import fold_tallies
from tests.integration.store.rows import accept, claim, execute, finish, result, select
from tests.tallied import Kind, miscounted


@pytest.fixture
async def another(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """The database as another process has it."""
    opened = open_database(database_url, tmp_path)
    yield opened
    await opened.aclose()


async def wrong(database: Database) -> dict[Kind, dict[str, int]]:
    """What is wrong in one look, which sees what is committed and nothing else."""
    async with database.reading() as connection:
        return await connection.run_sync(miscounted)


async def tallies(database: Database, columns: str = "created, processing, succeeded, failed") -> list[tuple[int, ...]]:
    return await select(database, f"SELECT {columns} FROM tallies")


async def work(database: Database, workspace: str) -> None:
    """Accept, claim and finish some, a few at a time."""
    for _ in range(4):
        await accept(database, workspace, 5)
        for claimed in await claim(database, 4):
            await database.writer.write(finish_batches, finish(claimed, result(0)))


async def test_each_look_counts_what_is_there_while_two_processes_write(
    database: Database, another: Database, workspace_id: str
) -> None:
    working = asyncio.gather(work(database, workspace_id), work(another, workspace_id))
    while not working.done():
        await another.writer.write(fold_tallies, None)
        assert await wrong(database) == {}
    await working
    assert await wrong(database) == {}
    assert sum(sum(row) for row in await tallies(database)) == 40


async def test_folding_leaves_one_row_of_a_kind(database: Database, workspace_id: str) -> None:
    await work(database, workspace_id)
    await database.writer.write(fold_tallies, None)
    assert await tallies(database, "part, created, processing, succeeded") == [(0, 4, 0, 16)]


async def test_folding_one_after_the_other_adds(database: Database, workspace_id: str) -> None:
    for _ in range(2):
        await accept(database, workspace_id, 3)
        await database.writer.write(fold_tallies, None)
    assert await tallies(database) == [(6, 0, 0, 0)]


async def test_what_was_deleted_leaves_no_row(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id)
    await database.writer.write(fold_tallies, None)
    (claimed,) = await claim(database)
    await database.writer.write(finish_batches, finish(claimed, result(0)))
    await database.writer.write(delete_batches, claimed.id)
    assert await wrong(database) == {}
    await database.writer.write(fold_tallies, None)
    assert await tallies(database) == []


@pytest.mark.parametrize(
    "change",
    ["type = 'flow'", "dialect = 'claid'", "seq = seq + 100000", "status = 'DONE', outcome = 'partial', type = 'flow'"],
)
async def test_a_batch_that_becomes_of_another_kind_is_counted_there(
    database: Database, workspace_id: str, change: str
) -> None:
    ids = await accept(database, workspace_id, 2)
    await execute(database, f"UPDATE batches SET {change} WHERE id = :id", id=ids[0])
    assert await wrong(database) == {}
    await database.writer.write(fold_tallies, None)
    assert await wrong(database) == {}
    assert len(await tallies(database)) == 2


async def test_a_statement_that_is_rolled_back_counts_for_nothing(database: Database, workspace_id: str) -> None:
    ids = await accept(database, workspace_id, 2)
    with pytest.raises(Exception, match="status"):
        await execute(database, "UPDATE batches SET status = CASE id WHEN :id THEN 'DONE' ELSE 'x' END", id=ids[0])
    assert await wrong(database) == {}
