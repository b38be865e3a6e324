"""Idempotency keys: one batch a key and workspace, whoever races; no neighbour pays; forgotten after a day."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from broker.batches import IdempotencyKey, NewBatch, new_id
from broker.store.batches import insert_batches
from broker.store.database import Database, open_database
from broker.store.keys import find_keyed, forget_keys
from broker.store.workspaces import NewWorkspace, insert_workspaces
from tests.integration.store.rows import accept, execute, new_batch, select

HASH = bytes(range(32))

DAY_MS = 24 * 3600 * 1000


def keyed(workspace: str, name: str, body_hash: bytes = HASH) -> NewBatch:
    return new_batch(workspace, key=IdempotencyKey(name, body_hash))


async def insert(database: Database, batches: Sequence[NewBatch]) -> list[int | None]:
    """Store batches in one group."""
    return await asyncio.gather(*[database.writer.write(insert_batches, batch) for batch in batches])


async def found(database: Database, workspace: str, name: str) -> tuple[str, bytes] | None:
    """(batch id, hash) of a key."""
    async with database.reading() as connection:
        keyed = await find_keyed(connection, workspace, name)
    return (keyed[0].id, keyed[1]) if keyed else None


async def ids(database: Database) -> set[str]:
    return {row[0] for row in await select(database, "SELECT id FROM batches")}


async def age(database: Database, id: str, ms: int) -> None:
    await execute(database, "UPDATE batches SET created = created - :ms WHERE id = :id", id=id, ms=ms)


async def test_the_first_of_a_key_is_stored_and_found(database: Database, workspace_id: str) -> None:
    first = keyed(workspace_id, "a", b"\x00\xff")
    (created,) = await insert(database, [first])
    assert created
    assert await insert(database, [keyed(workspace_id, "a")]) == [None]
    assert await ids(database) == {first.id}
    assert await found(database, workspace_id, "a") == (first.id, b"\x00\xff")
    assert await found(database, workspace_id, "A") is None


async def test_the_first_of_two_in_one_group_wins_and_no_neighbour_is_lost(
    database: Database, workspace_id: str
) -> None:
    batches = [
        new_batch(workspace_id),
        keyed(workspace_id, "z"),
        keyed(workspace_id, "a"),
        keyed(workspace_id, "z", b"other"),
        new_batch(workspace_id),
        keyed(workspace_id, "a"),
        keyed(workspace_id, "z"),
    ]
    outcomes = await insert(database, batches)
    assert [place for place, outcome in enumerate(outcomes) if outcome is None] == [3, 5, 6]
    assert await ids(database) == {batches[place].id for place in (0, 1, 2, 4)}
    assert await found(database, workspace_id, "z") == (batches[1].id, HASH)
    assert await found(database, workspace_id, "a") == (batches[2].id, HASH)


async def test_a_group_that_is_replayed_keeps_one_batch_a_key(database: Database, workspace_id: str) -> None:
    (taken,) = await accept(database, workspace_id)
    bad = new_batch(workspace_id, id=taken, key=IdempotencyKey("b", HASH))
    batches = [
        keyed(workspace_id, "a"),
        new_batch(workspace_id),
        bad,
        keyed(workspace_id, "a"),
        keyed(workspace_id, "b"),
    ]
    outcomes = await asyncio.gather(
        *[database.writer.write(insert_batches, batch) for batch in batches], return_exceptions=True
    )
    assert isinstance(outcomes[2], Exception)
    assert outcomes[3] is None
    assert all(isinstance(outcomes[place], int) for place in (0, 1, 4))
    assert await ids(database) == {taken, *(batches[place].id for place in (0, 1, 4))}
    assert await found(database, workspace_id, "b") == (batches[4].id, HASH)


async def test_a_key_belongs_to_its_workspace(database: Database, workspace_id: str) -> None:
    other = NewWorkspace(id=new_id(), name="other", secrets=b"box")
    assert await database.writer.write(insert_workspaces, other)
    mine, theirs = keyed(workspace_id, "a"), keyed(other.id, "a")
    assert None not in await insert(database, [mine, theirs])
    assert await found(database, workspace_id, "a") == (mine.id, HASH)
    assert await found(database, other.id, "a") == (theirs.id, HASH)
    assert await found(database, new_id(), "a") is None


async def test_processes_that_race_for_the_same_keys_store_each_once(
    database_url: str, tmp_path: Path, database: Database, workspace_id: str
) -> None:
    """Half of them come with the keys the other way round, which would make two groups wait for each other."""
    databases = [database, *(open_database(database_url, tmp_path) for _ in range(3))]
    names = [f"key {number}" for number in range(50)]
    groups = [[keyed(workspace_id, name) for name in names[:: 1 if place % 2 else -1]] for place in range(4)]
    outcomes = await asyncio.gather(*[insert(one, group) for one, group in zip(databases, groups, strict=True)])
    won = {
        batch.key.name: batch.id
        for group, some in zip(groups, outcomes, strict=True)
        for batch, outcome in zip(group, some, strict=True)
        if batch.key and outcome is not None
    }
    assert sum(outcome is not None for some in outcomes for outcome in some) == len(names)
    assert set(won) == set(names)
    assert await ids(database) == set(won.values())
    for other in databases[1:]:
        await other.aclose()


async def test_keys_are_kept_for_a_day_and_then_forgotten(database: Database, workspace_id: str) -> None:
    old, young, plain = keyed(workspace_id, "old"), keyed(workspace_id, "young"), new_batch(workspace_id)
    await insert(database, [old, young, plain])
    await age(database, old.id, DAY_MS + 1)
    await age(database, young.id, DAY_MS - 60_000)
    await age(database, plain.id, 2 * DAY_MS)
    assert await database.writer.write(forget_keys, 100) == 1
    assert await database.writer.write(forget_keys, 100) == 0
    assert await found(database, workspace_id, "old") is None
    assert await found(database, workspace_id, "young") == (young.id, HASH)
    kept = await select(database, "SELECT count(*) FROM batches WHERE body_hash IS NOT NULL")
    assert kept == [(1,)]
    again = keyed(workspace_id, "old")
    assert None not in await insert(database, [again])
    assert await ids(database) == {old.id, young.id, plain.id, again.id}


@pytest.mark.parametrize("limit", [1, 2, 7])
async def test_the_oldest_keys_are_forgotten_first_and_not_all_at_once(
    database: Database, workspace_id: str, limit: int
) -> None:
    batches = [keyed(workspace_id, str(number)) for number in range(7)]
    await insert(database, batches)
    for number, batch in enumerate(batches):
        await age(database, batch.id, DAY_MS + 1000 * (number + 1))
    assert await database.writer.write(forget_keys, limit) == limit
    left = {row[0] for row in await select(database, "SELECT idempotency_key FROM batches")} - {None}
    assert left == {str(number) for number in range(7 - limit)}
