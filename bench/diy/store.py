"""Its database: one table in SQLite, one commit a write, flushed as the broker's are."""

from __future__ import annotations

import aiosqlite

SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    id TEXT PRIMARY KEY, type TEXT NOT NULL, records TEXT NOT NULL, webhook TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'CREATED', results TEXT, delivered INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID
"""


async def connect(path: str) -> aiosqlite.Connection:
    """One connection in autocommit: each statement that writes is a transaction."""
    connection = await aiosqlite.connect(path, isolation_level=None)
    for pragma in ("busy_timeout = 5000", "journal_mode = WAL", "synchronous = FULL"):
        await connection.execute(f"PRAGMA {pragma}")
    await connection.execute(SCHEMA)
    return connection
