"""The clock of leases: the database's, in whole milliseconds, close to the real time and never backwards."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing

from sqlalchemy import Connection, select
from sqlalchemy.dialects import sqlite

from broker.store.clock import db_now
from broker.store.database import Database


def read_clock(connection: Connection, counts: Sequence[int]) -> list[list[int]]:
    return [[connection.execute(select(db_now())).scalar_one() for _ in range(count)] for count in counts]


async def test_it_is_the_real_time_in_milliseconds(database: Database) -> None:
    before = time.time_ns() // 1_000_000
    (now,) = await database.writer.write(read_clock, 1)
    after = time.time_ns() // 1_000_000
    assert isinstance(now, int)
    assert before <= now <= after + 1  # PostgreSQL rounds its microseconds


def test_no_millisecond_is_taken_for_the_one_before() -> None:
    """SQLite gives days as a float, the nearest of which to a whole millisecond may lie before it."""
    statement = str(select(db_now()).compile(dialect=sqlite.dialect())).replace("'now'", ":day")
    with closing(sqlite3.connect(":memory:")) as memory:
        for millisecond in range(1000):
            day = f"2026-03-01 12:00:00.{millisecond:03}"
            assert memory.execute(statement, {"day": day}).fetchone() == (1_772_366_400_000 + millisecond,)


async def test_it_never_goes_back(database: Database) -> None:
    times = await database.writer.write(read_clock, 500)
    assert times == sorted(times)


async def test_it_moves_on_between_the_statements_of_a_transaction(database: Database) -> None:
    def across(connection: Connection, _items: Sequence[int]) -> list[bool]:
        first = connection.execute(select(db_now())).scalar_one()
        start = time.monotonic()
        while connection.execute(select(db_now())).scalar_one() == first:
            assert time.monotonic() - start < 10
        return [True]

    assert await database.writer.write(across, 1)


async def test_readers_and_the_writer_have_the_same_clock(database: Database) -> None:
    (before,) = await database.writer.write(read_clock, 1)
    async with database.reading() as connection:
        between = (await connection.execute(select(db_now()))).scalar_one()
    (after,) = await database.writer.write(read_clock, 1)
    assert before <= between <= after
