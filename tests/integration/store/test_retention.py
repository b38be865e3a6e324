"""Pruned batches: gone with all that hangs on them, in bounded steps, unless something still needs them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from broker.batches import new_id
from broker.deliveries import State
from broker.store.database import Database, open_database
from broker.store.ended import Place
from broker.store.retention import Prunable, Prune, prunable_batches, prune_batches
from tests.integration.store.ended import (
    CHUNK,
    DAY,
    MINUTE,
    assert_scans_no_table,
    assert_walks_by_index,
    crowd,
    ended,
    explain,
    plans_of,
    recorded,
    run_again,
)
from tests.integration.store.rows import accept, claim_due, everything, execute, owe, select

AGE = 30 * DAY


async def look(database: Database, after: Place | None = None, limit: int = 100) -> Prunable:
    async with database.reading() as connection:
        return await prunable_batches(connection, after or Place(), AGE, limit)


async def prune(database: Database, *ids: str) -> list[str]:
    gone = await database.writer.write(prune_batches, Prune(ids, AGE))
    return sorted(batch.batch for batch in gone)


async def prune_all(database: Database, limit: int = 100) -> list[str]:
    pruned: list[str] = []
    place: Place | None = Place()
    while place is not None:
        found = await look(database, place, limit)
        assert len(found.ids) <= limit
        pruned += await prune(database, *found.ids)
        place = found.after
    return sorted(pruned)


async def family(database: Database, workspace: str, children: int = 2, *, ago_ms: int = 31 * DAY) -> list[str]:
    """The ids of a parent that ended `ago_ms` ago and of its children, which ended a minute before it."""
    parent, *others = await ended(database, workspace, children + 1, ago_ms=ago_ms)
    for ordinal, child in enumerate(others):
        await execute(
            database,
            "UPDATE batches SET parent_id = :parent, ordinal = :ordinal, finished = finished - 60000 WHERE id = :id",
            parent=parent,
            ordinal=ordinal,
            id=child,
        )
    return [parent, *others]


async def left(database: Database) -> list[str]:
    return [row[0] for row in await select(database, "SELECT id FROM batches ORDER BY id")]


async def test_an_old_batch_goes_with_all_that_hangs_on_it(database: Database, workspace_id: str) -> None:
    old = await ended(database, workspace_id, 3, ago_ms=31 * DAY)
    owed = await claim_due(database)
    assert owed == []
    for id in old:
        (delivery,) = await select(database, "SELECT id FROM deliveries WHERE batch_id = :id", id=id)
        await execute(
            database,
            "INSERT INTO attempts (delivery_id, number, manual, started) VALUES (:id, 1, false, 1)",
            id=delivery[0],
        )
    assert all(len(rows) == 3 for rows in (await everything(database)).values())
    assert await prune_all(database) == old
    assert not any((await everything(database)).values())


async def test_a_younger_or_an_open_batch_stays_untouched(database: Database, workspace_id: str) -> None:
    young = await ended(database, workspace_id, 2, ago_ms=30 * DAY - MINUTE)
    (waiting,) = await accept(database, workspace_id)
    before = await everything(database)
    assert await look(database) == Prunable((), None)
    assert await prune(database, *young, waiting) == []
    assert await everything(database) == before


@pytest.mark.parametrize("state", list(State))
async def test_a_batch_stays_while_a_webhook_is_owed(database: Database, workspace_id: str, state: State) -> None:
    (id,) = await ended(database, workspace_id, ago_ms=31 * DAY)
    await execute(database, "UPDATE deliveries SET state = :state", state=state.value)
    expected = [] if state is State.PENDING else [id]
    assert await prune_all(database) == expected
    assert bool(await left(database)) == (state is State.PENDING)


async def test_a_webhook_owed_again_after_the_look_keeps_its_batch(database: Database, workspace_id: str) -> None:
    first, second = await ended(database, workspace_id, 2, ago_ms=31 * DAY)
    found = await look(database)
    await execute(database, "UPDATE deliveries SET state = 'pending' WHERE batch_id = :id", id=first)
    assert await prune(database, *found.ids) == [second]
    assert await left(database) == [first]


async def test_a_batch_stays_while_a_person_waits_for_its_webhook(database: Database, workspace_id: str) -> None:
    first, second = await ended(database, workspace_id, 2, ago_ms=31 * DAY)
    asked = "UPDATE deliveries SET state = 'delivered', manual = true WHERE batch_id = :id"
    await execute(database, asked, id=first)
    assert await prune_all(database) == [second]
    assert await prune(database, first) == []
    assert await left(database) == [first]


async def test_a_webhook_asked_for_while_its_batch_is_being_removed_keeps_it(
    database_url: str, database: Database, workspace_id: str
) -> None:
    """It is asked for after the batch was found unneeded, and its row is locked by then."""
    (id,) = await ended(database, workspace_id, ago_ms=31 * DAY)
    if database_url.startswith("sqlite"):  # whose writers take turns
        await execute(database, "UPDATE deliveries SET manual = true")
        assert await prune(database, id) == []
        return
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await connection.execute("UPDATE deliveries SET manual = true")
        pruning = asyncio.create_task(prune(database, id))
        await asyncio.sleep(0.3)
    await connection.close()
    assert await pruning == []
    assert await left(database) == [id]


async def test_a_batch_that_runs_again_after_the_look_stays(database: Database, workspace_id: str) -> None:
    first, second = await ended(database, workspace_id, 2, ago_ms=31 * DAY)
    found = await look(database)
    await run_again(database, second)
    assert await prune(database, *found.ids) == [first]
    assert await left(database) == [second]


async def test_a_parent_goes_after_its_children(database: Database, workspace_id: str) -> None:
    parent, *children = await family(database, workspace_id, 4)
    assert await prune(database, parent) == []
    assert await prune_all(database, limit=2) == sorted([parent, *children])
    assert await left(database) == []


async def test_a_parent_in_one_chunk_with_its_children_goes_with_the_next_look(
    database: Database, workspace_id: str
) -> None:
    parent, *children = await family(database, workspace_id, 2)
    assert await prune_all(database) == children
    assert await prune_all(database) == [parent]


async def test_children_stay_as_long_as_their_parent(database: Database, workspace_id: str) -> None:
    family_ids = await family(database, workspace_id, 3, ago_ms=30 * DAY - MINUTE // 2)
    assert await prune_all(database) == []
    await execute(database, "UPDATE batches SET finished = finished - :ms WHERE parent_id IS NOT NULL", ms=40 * DAY)
    assert await prune_all(database) == []
    assert await left(database) == sorted(family_ids)


async def test_a_parent_stays_for_a_child_that_is_needed(database: Database, workspace_id: str) -> None:
    parent, first, second = await family(database, workspace_id, 2)
    await execute(database, "UPDATE deliveries SET state = 'pending' WHERE batch_id = :id", id=first)
    assert await prune_all(database) == [second]
    assert await prune_all(database) == []
    assert await left(database) == sorted([parent, first])


async def test_what_stays_does_not_hide_what_goes(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id, 25)
    await execute(database, "UPDATE batches SET finished = finished - :ms", ms=50 * DAY)
    gone = await ended(database, workspace_id, 5, ago_ms=31 * DAY)
    assert await prune_all(database, limit=10) == gone
    assert len(await left(database)) == 25


async def test_an_unknown_batch_is_nothing_to_prune(database: Database) -> None:
    assert await prune(database, new_id()) == []
    assert await prune(database) == []


async def test_two_workers_at_once_prune_all_once(
    database: Database, workspace_id: str, database_url: str, tmp_path: Path
) -> None:
    ids = await ended(database, workspace_id, 300, ago_ms=31 * DAY)
    other = open_database(database_url, tmp_path)
    try:
        mine, theirs = await asyncio.gather(prune_all(database, 20), prune_all(other, 20))
    finally:
        await other.aclose()
    assert sorted(mine + theirs) == ids
    assert not any((await everything(database)).values())


async def test_a_look_reads_no_more_than_its_chunk(database: Database, workspace_id: str) -> None:
    await crowd(database, workspace_id)
    async with database.reading() as connection:
        assert connection.sync_connection is not None
        with recorded(connection.sync_connection) as seen:
            await prunable_batches(connection, Place(), AGE, CHUNK)
        plans = await connection.run_sync(explain, seen)
    assert_walks_by_index(plans)


async def test_pruning_scans_no_table(database: Database, workspace_id: str) -> None:
    await crowd(database, workspace_id)
    found = await look(database, limit=CHUNK)
    assert len(found.ids) == CHUNK
    assert_scans_no_table(await plans_of(database, prune_batches, Prune(found.ids, AGE)))
