"""Chores: one process of the fleet has the turn, until it is due again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from broker.store.chores import Turn, take_turn
from broker.store.database import Database, open_database
from tests.integration.store.rows import MINUTE, execute, select

SEARCH = Turn("search", MINUTE)


async def test_one_of_two_processes_has_the_turn(database: Database, database_url: str, tmp_path: Path) -> None:
    other = open_database(database_url, tmp_path)
    try:
        writers = [database.writer, other.writer] * 20
        turns = await asyncio.gather(*[writer.write(take_turn, SEARCH) for writer in writers])
        assert turns.count(True) == 1
        await execute(database, "UPDATE chores SET due = due - 61000")
        turns = await asyncio.gather(*[writer.write(take_turn, SEARCH) for writer in writers])
        assert turns.count(True) == 1
    finally:
        await other.aclose()


async def test_a_chore_is_nobody_s_until_it_is_due_again(database: Database) -> None:
    assert await database.writer.write(take_turn, SEARCH)
    await execute(database, "UPDATE chores SET due = due - 30000")
    assert not await database.writer.write(take_turn, SEARCH)
    await execute(database, "UPDATE chores SET due = due - 30000")
    assert await database.writer.write(take_turn, SEARCH)


async def test_chores_do_not_wait_for_each_other(database: Database) -> None:
    assert await database.writer.write(take_turn, SEARCH)
    assert await database.writer.write(take_turn, Turn("another", MINUTE))
    assert not await database.writer.write(take_turn, SEARCH)


async def test_a_turn_leaves_how_far_the_chore_has_come(database: Database) -> None:
    await database.writer.write(take_turn, Turn("walk", 0))
    await execute(database, "UPDATE chores SET cursor = 'here'")
    assert await database.writer.write(take_turn, Turn("walk", 0))
    assert await select(database, "SELECT name, cursor FROM chores") == [("walk", "here")]
