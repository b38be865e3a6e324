"""A clock of the database that a test sets forward or back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import Connection

from broker.store.writer import Writer


@asynccontextmanager
async def settable_clock(writer: Writer) -> AsyncIterator[Clock]:
    """To be entered before the writer is used: a statement that SQLite has prepared keeps to its own clock."""
    clock = Clock(writer)
    await clock.set_forward(0)
    yield clock
    await writer.write(_set_right, None)


class Clock:
    """What the connection of `writer` takes for the time; reads keep to the real one.

    The database's own function is hidden behind one of the same name that adds what the clock is ahead.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._ahead = 0.0

    async def set_forward(self, seconds: float) -> None:
        """By so much; less than 0 sets it back."""
        self._ahead += seconds
        await self._writer.write(self._set, None)

    def _set(self, connection: Connection, items: Sequence[None]) -> list[None]:
        if connection.dialect.name == "sqlite":
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.create_function("julianday", 1, self._julian_day)
        else:
            connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS ahead")
            connection.exec_driver_sql(
                "CREATE OR REPLACE FUNCTION ahead.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS "
                f"$$ SELECT pg_catalog.clock_timestamp() + interval '{self._ahead} seconds' $$"
            )
            connection.exec_driver_sql("SET search_path = ahead, pg_catalog, public")
        return [None] * len(items)

    def _julian_day(self, _now: str) -> float:
        return 2440587.5 + (time.time() + self._ahead) / 86400


def _set_right(connection: Connection, items: Sequence[None]) -> list[None]:
    """SQLite has nothing to forget: its function goes with the connection."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("RESET search_path")
        connection.exec_driver_sql("DROP SCHEMA ahead CASCADE")
    return [None] * len(items)
