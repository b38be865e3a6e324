"""Giving back to the disk what lies free in SQLite's file, in small pieces: by itself such a file never shrinks."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import Connection

from broker.store.sqlite import INCREMENTAL

SPARE = 4
"""One page of so many may lie free, for what comes next: to give it back and take it again would write it twice."""
SECONDS = 0.01
"""Of one piece, as nobody else writes meanwhile. A page takes 20 µs, or more than ten times that where others became
free in another order than they lie in, as SQLite goes through the list of the free for it."""


def shrink_file(connection: Connection, turns: Sequence[None]) -> list[int]:
    """Give back a piece for each turn; how many pages. None on PostgreSQL, whose server sees to it by itself.

    Nor of a file that was made before this was thought of: decision 0020 tells how to change that.
    """
    if connection.dialect.name != "sqlite" or _fact(connection, "auto_vacuum") != INCREMENTAL:
        return [0] * len(turns)
    return [_shrink(connection) for _ in turns]


def _shrink(connection: Connection) -> int:
    pages = _fact(connection, "page_count")
    surplus = _fact(connection, "freelist_count") - pages // SPARE
    end = time.monotonic() + SECONDS
    while surplus > 0 and time.monotonic() < end:
        connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
        surplus -= 1
    return pages - _fact(connection, "page_count")


def _fact(connection: Connection, name: str) -> int:
    value: int = connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
    return value
