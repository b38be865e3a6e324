"""Deadlocks on PostgreSQL: tried once more, and not brought about by what writes rows in opposite orders."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from broker.batches import IdempotencyKey, NewBatch
from broker.errors import Unavailable
from broker.store.batches import insert_batches
from broker.store.database import Database, open_database
from broker.store.ends import Ended, Finish, finish_batches
from tests.integration.running import PATIENCE
from tests.integration.store.rows import accept, claim, execute, finish, new_batch, new_workspace, result


async def test_a_deadlock_is_tried_once_more(postgresql: Database, postgresql_url: str, tmp_path: Path) -> None:
    other = open_database(postgresql_url, tmp_path)
    for name in ("a", "b"):
        await execute(postgresql, "INSERT INTO instance_facts (name, value) VALUES (:name, '')", name=name)
    runs: list[str] = []

    def cross(connection: Connection, orders: Sequence[str]) -> list[str]:
        (order,) = orders
        first, second = order[0], order[1]
        runs.append(order)
        lock = text("SELECT name FROM instance_facts WHERE name = :name FOR UPDATE")
        connection.execute(lock, {"name": first})
        if runs.count(order) == 1:
            _meet(connection, order)
        connection.execute(lock, {"name": second})
        return [order]

    writes = [postgresql.writer.write(cross, "ab"), other.writer.write(cross, "ba")]
    assert await asyncio.gather(*writes) == ["ab", "ba"]
    assert len(runs) == 3
    await other.aclose()


async def test_a_second_deadlock_is_an_outage(postgresql: Database) -> None:
    """Whoever is in it again might be so for ever."""
    runs: list[str] = []

    def fail(connection: Connection, items: Sequence[str]) -> list[str]:
        runs.extend(items)
        connection.execute(text("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40P01'; END $$"))
        return list(items)

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(Unavailable):
            await postgresql.writer.write(fail, "one")
    assert runs == ["one"] * 2


async def test_batches_that_finish_twice_in_opposite_orders_do_not_deadlock(
    postgresql: Database, postgresql_url: str
) -> None:
    """Both come to a halt in the middle; whoever is second must not hold by then what the first needs next."""
    await accept(postgresql, await new_workspace(postgresql), 3)
    ends = [finish(claimed, result()) for claimed in await claim(postgresql)]
    by_index = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}  # as on large tables
    engine = create_async_engine(
        make_url(postgresql_url).set(drivername="postgresql+asyncpg"), connect_args={"server_settings": by_index}
    )

    async def end(order: Sequence[Finish]) -> list[Ended | None]:
        async with engine.begin() as connection:
            return await connection.run_sync(finish_batches, order)

    stranger = await asyncpg.connect(postgresql_url)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group, stranger.transaction():
        await stranger.execute("SELECT id FROM batches WHERE id = $1 FOR UPDATE", ends[1].lease.batch)
        first = group.create_task(end(ends))
        await _waiting_for_locks(stranger, 1)
        second = group.create_task(end(ends[::-1]))
        await _waiting_for_locks(stranger, 2)
    assert (first.result(), second.result()) == ([Ended()] * 3, [None] * 3)
    await stranger.close()
    await engine.dispose()


async def test_the_same_keys_in_opposite_orders_do_not_deadlock(postgresql: Database, postgresql_url: str) -> None:
    """Both come to a halt at a key that is not committed yet; the second must not hold by then what the first needs."""
    workspace = await new_workspace(postgresql)
    engine = create_async_engine(make_url(postgresql_url).set(drivername="postgresql+asyncpg"))

    def keyed(names: str) -> list[NewBatch]:
        return [new_batch(workspace, key=IdempotencyKey(name, bytes(32))) for name in names]

    async def insert(names: str) -> list[bool]:
        async with engine.begin() as connection:
            return [created is not None for created in await connection.run_sync(insert_batches, keyed(names))]

    watcher = await asyncpg.connect(postgresql_url)
    try:
        async with asyncio.timeout(30), asyncio.TaskGroup() as group, engine.begin() as stranger:
            await stranger.run_sync(insert_batches, keyed("b"))
            first = group.create_task(insert("abc"))
            await _waiting_for_locks(watcher, 1)
            second = group.create_task(insert("cba"))
            await _waiting_for_locks(watcher, 2)
    finally:
        await watcher.close()
        await engine.dispose()
    assert (first.result(), second.result()) == ([True, False, True], [False] * 3)


async def _waiting_for_locks(connection: asyncpg.Connection, count: int) -> None:
    """Until that many sessions of the database wait for rows that others hold."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while await connection.fetchval(waiting) != count:
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        await asyncio.sleep(0.01)


def _meet(connection: Connection, order: str) -> None:
    """Wait until both transactions hold their first row."""
    connection.execute(text("SELECT pg_advisory_lock_shared(hashtext(:order))"), {"order": order})
    held = text(
        "SELECT count(DISTINCT objid) FROM pg_locks WHERE locktype = 'advisory' "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    for _ in range(10_000):
        if connection.scalar(held) == 2:
            return
    raise TimeoutError("the other transaction did not come")
