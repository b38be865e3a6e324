"""The databases of a torture run, each of its own, and the faults that only they have."""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGQUIT
from typing import ClassVar, Protocol

from broker.store.database import SQLITE_FILE
from tests.databases import PostgresServer, migrate_fresh, remove_postgres, temporary_postgres_folder
from tests.torture.plan import Kind

Injection = Callable[[float], None]
"""Does a fault and mends it after that many seconds; to be called on a thread."""


class TorturedDatabase(Protocol):
    """A migrated database and what may happen to it."""

    kind: ClassVar[str]

    @property
    def url(self) -> str: ...

    @property
    def faults(self) -> Mapping[Kind, Injection]: ...

    def is_free(self) -> bool:
        """Whether no process of the broker keeps the others from writing just now."""
        ...


@dataclass(frozen=True)
class Sqlite:
    """A file in `folder`."""

    kind: ClassVar[str] = "sqlite"

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / SQLITE_FILE

    @property
    def url(self) -> str:
        return f"sqlite:///{self.file}"

    @property
    def faults(self) -> Mapping[Kind, Injection]:
        return {Kind.DATABASE_LOCKED: self._lock}

    def is_free(self) -> bool:
        with Path(f"{self.file}.lock").open() as lock, suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def _lock(self, seconds: float) -> None:
        """Write in a transaction of our own, as a stranger who knows nothing of the broker's lock file."""
        with closing(sqlite3.connect(self.file, timeout=60, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")


@dataclass(frozen=True)
class Postgresql:
    """A database on a server that nobody else uses."""

    kind: ClassVar[str] = "postgresql"

    server: PostgresServer
    name: str

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    @property
    def faults(self) -> Mapping[Kind, Injection]:
        return {
            Kind.DATABASE_STOPPED: lambda seconds: self._restart(seconds, crash=False),
            Kind.DATABASE_CRASHED: lambda seconds: self._restart(seconds, crash=True),
            Kind.DATABASE_CUT: self._cut,
        }

    def is_free(self) -> bool:
        return True

    def _restart(self, seconds: float, *, crash: bool) -> None:
        self.server.stop(SIGQUIT if crash else SIGINT)
        time.sleep(seconds)
        self.server.start()

    def _cut(self, _seconds: float) -> None:
        self.server.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'",
            database="postgres",
        )


@contextmanager
def tortured_database(kind: str, folder: Path) -> Iterator[TorturedDatabase]:
    """A fresh database, `sqlite` or `postgresql`, that runs until the end."""
    if kind == "sqlite":
        folder.mkdir()
        database = Sqlite(folder)
        migrate_fresh(database.url, folder)
        yield database
        return
    server_folder = temporary_postgres_folder()
    server = PostgresServer(server_folder)
    server.start()
    try:
        yield Postgresql(server, server.create())
    finally:
        remove_postgres(server_folder)
