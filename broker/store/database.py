"""Opening the database of an installation: its URL -> a reader pool and the writer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import URL, make_url, select
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from broker.errors import Misconfigured, Unavailable
from broker.store import postgresql, sqlite
from broker.store.outage import is_outage, reason
from broker.store.tables import InstanceFact, table
from broker.store.writer import Session, Writer

SQLITE_FILE = "broker.sqlite3"
_LOOK = select(table(InstanceFact).c.name).limit(1)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Database:
    """Reads go through `reading()`, writes through `writer`."""

    writer: Writer
    engine: AsyncEngine

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reads. Raises Unavailable when the database is not there."""
        try:
            async with self.engine.connect() as connection:
                yield connection
        except Exception as error:
            if not is_outage(error):
                raise
            log.warning("store.unreadable", error=type(error).__name__, reason=reason(error))
            raise Unavailable(retry_after=1) from error

    async def ping(self) -> None:
        """Raises Unavailable unless the database answers from a table; SQLite says 1 without a look at its file."""
        async with self.reading() as connection:
            await connection.execute(_LOOK)

    async def aclose(self) -> None:
        await self.writer.aclose()
        await self.engine.dispose()


def open_database(url: str, data_dir: Path) -> Database:
    """Open `url`, or the SQLite file in `data_dir` when it is empty. Needs a running event loop.

    Raises Misconfigured for a URL that is neither PostgreSQL nor a local SQLite file.
    """
    place = _parse(url, data_dir)
    engine = sqlite.reading_engine(place) if isinstance(place, Path) else postgresql.reading_engine(place)
    return Database(Writer(_session(place)), engine)


def open_session(url: str, data_dir: Path) -> Session:
    """A writing connection of one's own, for who must not wait behind the others of this process. Raises alike."""
    return _session(_parse(url, data_dir))


def _session(place: Path | URL) -> Session:
    return sqlite.SqliteSession(place) if isinstance(place, Path) else postgresql.PostgresqlSession(place)


def _parse(url: str, data_dir: Path) -> Path | URL:
    """Where the database is: a file of SQLite, or a server's URL."""
    try:
        parsed = make_url(url) if url else URL.create("sqlite", database=str(data_dir / SQLITE_FILE))
    except ArgumentError as error:
        raise Misconfigured("BROKER_DATABASE_URL is not a database URL") from error
    kind = parsed.get_backend_name()
    if kind == "postgresql":
        return parsed.set(drivername="postgresql+asyncpg")
    if kind != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise Misconfigured("BROKER_DATABASE_URL must be postgresql://… or sqlite:///path")
    path = Path(parsed.database).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    sqlite.check_place(path)
    return path
