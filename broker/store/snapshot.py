"""A collection's items as a local SQLite file for handlers: one table, `items(id TEXT PRIMARY KEY, fields TEXT)`.

A file of its own, in a temporary folder; it has nothing to do with the installation's database. It is written without a
journal and without a flush: one that was not written to its end is never read.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from broker.errors import Unavailable
from broker.store.items import Change


def create_snapshot(path: Path, old: Path | None = None) -> None:
    """One like `old`, or an empty one. Raises Unavailable."""
    with _unavailable():
        if old is not None:
            shutil.copyfile(old, path)
            return
        with _opened(path) as connection:
            connection.execute("CREATE TABLE items (id TEXT PRIMARY KEY, fields TEXT NOT NULL) WITHOUT ROWID")


def change_snapshot(path: Path, changes: Sequence[Change]) -> None:
    """Bring in changes, each the last of its item. Raises Unavailable."""
    removed = [(change.mark.id,) for change in changes if change.fields is None]
    kept = [(change.mark.id, change.fields) for change in changes if change.fields is not None]
    with _unavailable(), _opened(path) as connection, connection:
        connection.executemany("DELETE FROM items WHERE id = ?", removed)
        connection.executemany("INSERT OR REPLACE INTO items (id, fields) VALUES (?, ?)", kept)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        yield connection


@contextmanager
def _unavailable() -> Iterator[None]:
    """No room for the file, for one, is no record's fault."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise Unavailable() from error
