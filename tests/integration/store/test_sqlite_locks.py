"""SQLite's own locks survive in a process that opens its database several times: to lose them is to lose the database.

A process that closes any descriptor of a file loses all its POSIX locks on it, also those that SQLite took through
another one. Without them the next one that leaves believes itself the last and removes the log that others still use
(https://sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from broker.store.database import SQLITE_FILE, open_database, open_session

VISIT = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM batches').connection.close()"


async def test_another_session_of_the_process_lets_no_stranger_remove_the_log(sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / SQLITE_FILE
    log = file.with_name(file.name + "-wal")
    database = open_database(sqlite_url, tmp_path)
    await database.ping()
    session = open_session(sqlite_url, tmp_path)
    before = log.stat().st_ino
    visit = await asyncio.create_subprocess_exec(sys.executable, "-c", VISIT, str(file))
    assert await visit.wait() == 0
    assert log.exists()
    assert log.stat().st_ino == before
    await session.close()
    await database.aclose()
