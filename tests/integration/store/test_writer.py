"""The writer: groups share commits, a bad row hurts nobody else, outages are told apart, nothing is lost on close."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from broker.batches import NewBatch, new_id
from broker.errors import Unavailable
from broker.store.batches import insert_batches
from broker.store.database import Database, open_database
from broker.store.writer import GROUP_BYTES, GROUP_ROWS, MAX_WAITING_BYTES
from tests.integration.store.rows import accept, new_batch, select

MEGABYTE = 1024 * 1024


class Recorder:
    """`insert_batches` that notes how large each group was."""

    def __init__(self) -> None:
        self.groups: list[int] = []

    def insert(self, connection: Connection, batches: Sequence[NewBatch]) -> list[int | None]:
        self.groups.append(len(batches))
        return insert_batches(connection, batches)


async def ids(database: Database) -> set[str]:
    return {row[0] for row in await select(database, "SELECT id FROM batches")}


async def test_writes_that_arrive_together_share_a_commit(database: Database, workspace_id: str) -> None:
    recorder = Recorder()
    operation = recorder.insert
    batches = [new_batch(workspace_id) for _ in range(GROUP_ROWS * 2 + 7)]
    times = await asyncio.gather(*[database.writer.write(operation, batch) for batch in batches])
    assert recorder.groups == [GROUP_ROWS, GROUP_ROWS, 7]
    assert len(times) == len(batches)
    assert await ids(database) == {batch.id for batch in batches}


async def test_a_group_ends_at_its_bytes_too(database: Database, workspace_id: str) -> None:
    recorder = Recorder()
    operation = recorder.insert
    writes = [database.writer.write(operation, new_batch(workspace_id), weight=GROUP_BYTES // 2) for _ in range(5)]
    await asyncio.gather(*writes)
    assert recorder.groups == [2, 2, 1]


async def test_writes_that_arrive_during_a_commit_share_the_next(database: Database, workspace_id: str) -> None:
    recorder = Recorder()
    operation = recorder.insert

    async def customer(posts: int) -> None:
        for _ in range(posts):
            await database.writer.write(operation, new_batch(workspace_id))

    await asyncio.gather(*[customer(10) for _ in range(20)])
    assert sum(recorder.groups) == 200
    assert len(recorder.groups) < 50


async def test_each_item_gets_its_own_result(database: Database) -> None:
    def double(connection: Connection, numbers: Sequence[int]) -> list[int]:
        return [int(connection.scalar(text("SELECT 2 * :n"), {"n": number}) or 0) for number in numbers]

    def negate(_connection: Connection, numbers: Sequence[int]) -> list[int]:
        return [-number for number in numbers]

    writes = [database.writer.write(double if n % 2 else negate, n) for n in range(100)]
    assert await asyncio.gather(*writes) == [2 * n if n % 2 else -n for n in range(100)]


@pytest.mark.parametrize(
    "defect",
    [
        pytest.param({"id": "taken"}, id="id_taken"),
        pytest.param({"workspace": new_id()}, id="unknown_workspace"),
        pytest.param({"endpoint": "\ud800"}, id="lone_surrogate"),
        pytest.param({"webhook": "not bytes"}, id="wrong_type"),
        pytest.param({"size": 2**70}, id="number_too_large"),
    ],
)
async def test_one_bad_row_does_not_fail_its_neighbours(
    database: Database, workspace_id: str, defect: dict[str, Any]
) -> None:
    (taken,) = await accept(database, workspace_id)
    if defect.get("id") == "taken":
        defect = {"id": taken}
    good = [new_batch(workspace_id) for _ in range(10)]
    batches = [*good[:5], replace(new_batch(workspace_id), **defect), *good[5:]]
    outcomes = await asyncio.gather(
        *[database.writer.write(insert_batches, batch) for batch in batches], return_exceptions=True
    )
    failures = [place for place, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)]
    assert failures == [5]
    assert not isinstance(outcomes[5], Unavailable)
    assert await ids(database) == {taken, *(batch.id for batch in good)}


async def test_a_bug_in_an_operation_is_not_taken_for_an_outage(database: Database) -> None:
    def forget_a_parameter(connection: Connection, items: Sequence[int]) -> list[int]:
        return [int(connection.scalar(text("SELECT :n"), {}) or 0) for _ in items]

    with pytest.raises(SQLAlchemyError):
        await database.writer.write(forget_a_parameter, 1)
    await database.ping()


async def test_an_operation_that_loses_a_result_fails_and_writes_nothing(database: Database, workspace_id: str) -> None:
    def forgetful(connection: Connection, batches: Sequence[NewBatch]) -> list[int | None]:
        return insert_batches(connection, batches)[1:]

    with pytest.raises(ValueError, match="zip"):
        await database.writer.write(forgetful, new_batch(workspace_id))
    assert await ids(database) == set()


async def test_a_cancelled_caller_does_not_break_its_group(database: Database, workspace_id: str) -> None:
    batches = [new_batch(workspace_id) for _ in range(10)]
    writes = [asyncio.create_task(database.writer.write(insert_batches, batch)) for batch in batches]
    await asyncio.sleep(0)
    writes[4].cancel()
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [place for place, outcome in enumerate(outcomes) if not isinstance(outcome, int)] == [4]
    assert {batch.id for place, batch in enumerate(batches) if place != 4} <= await ids(database)
    await accept(database, workspace_id)


async def test_too_much_waiting_is_refused_at_once(database: Database, workspace_id: str) -> None:
    weights = [MAX_WAITING_BYTES + MEGABYTE, 1, 1]
    writes = [database.writer.write(insert_batches, new_batch(workspace_id), weight=weight) for weight in weights]
    stored, *refused = await asyncio.gather(*writes, return_exceptions=True)
    assert isinstance(stored, int)
    for refusal in refused:
        assert isinstance(refusal, Unavailable)
        assert refusal.retry_after
    await accept(database, workspace_id)


async def test_closing_commits_what_waits_and_takes_no_more(
    database_url: str, tmp_path: Path, database: Database, workspace_id: str
) -> None:
    closing = open_database(database_url, tmp_path)
    batches = [new_batch(workspace_id) for _ in range(GROUP_ROWS + 10)]
    writes = [asyncio.create_task(closing.writer.write(insert_batches, batch)) for batch in batches]
    await asyncio.sleep(0)
    await closing.aclose()
    with pytest.raises(Unavailable):
        await closing.writer.write(insert_batches, new_batch(workspace_id))
    assert len(await asyncio.gather(*writes)) == len(batches)
    assert await ids(database) == {batch.id for batch in batches}


async def test_closing_a_database_that_was_never_used(database_url: str, tmp_path: Path) -> None:
    await open_database(database_url, tmp_path).aclose()


async def test_several_processes_worth_of_writers_on_one_database(
    database_url: str, tmp_path: Path, database: Database, workspace_id: str
) -> None:
    others = [open_database(database_url, tmp_path) for _ in range(3)]
    stored = await asyncio.gather(*[accept(other, workspace_id, 50) for other in [*others, database]])
    assert await ids(database) == {id for some in stored for id in some}
    for other in others:
        await other.aclose()


async def test_readers_cannot_write(database: Database, workspace_id: str) -> None:
    with pytest.raises(Unavailable):
        async with database.reading() as connection:
            await connection.execute(text("UPDATE workspaces SET paused = true"))
    assert await select(database, "SELECT count(*) FROM workspaces WHERE paused") == [(0,)]
