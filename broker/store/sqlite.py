"""SQLite as the broker uses it: WAL, commits flushed, one writer at a time by a lock file, many readers."""

from __future__ import annotations

import asyncio
import fcntl
import math
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import URL, create_engine, event
from sqlalchemy.engine import Connection, Engine, RootTransaction
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from broker.errors import Misconfigured
from broker.store.log import LONGEST, Log
from broker.store.thread import CallThread
from broker.store.writer import NotBrief, Work

CLOSE_SECONDS = 5.0
BUSY_MS = 5000
BRIEF_SECONDS, BRIEF_PAUSE = 0.025, 1.0
LEASH_STEPS = 1000
"""Of SQLite's machine, some tens of microseconds, between two looks at the clock."""
CHECKPOINT_PAGES = 500
CHECKPOINT_PAUSE = 0.1
"""Seconds. A checkpoint holds all writes up, for 1 ms and 3 more for each 1,000 pages: many short ones are kinder than
few long ones, and cost little more. A log that readers need is not tried again and again."""
OLDEST = (3, 35, 0)
READERS = 4
INCREMENTAL = 2
"""How a file is made, so that it can be given back in pieces (https://sqlite.org/pragma.html#pragma_auto_vacuum)."""
NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "glusterfs", "ceph", "afs", "9p"}
)

log = structlog.get_logger()


class SqliteSession:
    """The writing connection of one process, with a thread for all that waits: for a lock, for the disk.

    Every write of every process takes `flock` on `<database>.lock` around BEGIN IMMEDIATE … COMMIT: waiting is fair,
    and only the lock's holder moves the write-ahead log into the database, so no checkpoint overlaps a commit. Nothing
    ends the wait for a holder that has been stopped; it is the writer that withdraws writes which wait too long.

    Brief work of a lock that is free is done on the event loop, and the thread has only to flush it: two threads that
    run Python beside each other take longer than one that does the work of both (docs/performance.md). What takes
    longer than BRIEF_SECONDS after all is rolled back, and for a while nothing is taken for brief. What needs no flush
    outlasts every process, and is flushed with the next that does.
    """

    def __init__(self, path: Path) -> None:
        self._lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._log = Log(path.with_name(path.name + "-wal"), self._lock)
        _create_private(path)
        self._engine = _writing_engine(path)
        self._connection: Connection | None = None
        self._thread = CallThread("sqlite-writer")
        self._next_checkpoint = 0.0
        self._flushes = True
        self._next_brief = 0.0

    async def transact(self, work: Work, *, brief: bool = False, flush: bool = True, single: bool = False) -> list[Any]:
        begun = self._begin_at_once(flush) if brief else None
        if begun is None:
            results = await self._thread.call(partial(self._transact, work, flush))
            if self._next_brief == math.inf:
                self._next_brief = time.monotonic() + BRIEF_PAUSE
            return results
        results = self._apply(work, begun)
        if not flush and not self._log.is_spent:  # SQLite flushes the head of the next one all the same
            self._commit(begun)
            return results
        # A commit that has begun to be asked for is made, or nobody would give the lock back.
        await asyncio.shield(self._thread.call(partial(self._commit, begun)))
        return results

    async def close(self) -> None:
        """Returns after a while even when the lock is still waited for: the thread closes once it has had it."""
        closed = self._thread.call(self._close)
        self._thread.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.shield(closed)

    def _begin_at_once(self, flush: bool) -> RootTransaction | None:
        """A transaction, unless there is something to wait for."""
        if self._connection is None or time.monotonic() < self._next_brief:
            return None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        try:
            self._flush_commits(self._connection, flush)
            return self._connection.begin()
        except sqlite3.Error:  # a stranger writes without the lock; the thread waits for it, or tells what else it is
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            return None

    def _apply(self, work: Work, begun: RootTransaction) -> list[Any]:
        try:
            with _leash(begun.connection):
                return work(begun.connection)
        except BaseException as error:
            try:
                begun.rollback()
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)
            if _was_interrupted(error):
                self._next_brief = math.inf  # the pause begins when the thread has done it, however long that takes
                raise NotBrief from error
            raise

    def _transact(self, work: Work, flush: bool) -> list[Any]:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            self._flush_commits(self._connection, flush)
            with _patience(self._connection):
                begun = self._connection.begin()
            with begun:
                results = work(self._connection)
            if flush:
                self._checkpoint(self._connection)
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        return results

    def _commit(self, begun: RootTransaction) -> None:
        try:
            with begun:  # rolls back what cannot be committed
                pass
            if self._flushes:
                self._checkpoint(begun.connection)
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _flush_commits(self, connection: Connection, flush: bool) -> None:
        """Whether commits are flushed from here on."""
        if flush != self._flushes:
            _raw(connection).execute(f"PRAGMA synchronous = {'FULL' if flush else 'NORMAL'}")
            self._flushes = flush

    def _checkpoint(self, connection: Connection) -> None:
        """Bring the log into the database once it is long, so that it begins anew. A reader that still needs it makes
        this a partial one; the next goes on.

        The group is committed by now: whatever goes wrong here, its writers are told so.
        """
        now = time.monotonic()
        if now < self._next_checkpoint or not self._log.holds(CHECKPOINT_PAGES):
            return
        self._next_checkpoint = now + CHECKPOINT_PAUSE
        try:
            (busy, *_pages) = _raw(connection).execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            if not busy:
                self._log.note_spent()
        except sqlite3.Error as error:
            log.warning("store.checkpoint_failed", reason=str(error))

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()
        self._log.close()
        os.close(self._lock)


@contextmanager
def _patience(connection: Connection) -> Iterator[None]:
    """Strangers that write without the lock are waited for, for a while; otherwise SQLite waits for nobody."""
    raw = _raw(connection)
    raw.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    try:
        yield
    finally:
        raw.execute("PRAGMA busy_timeout = 0")


@contextmanager
def _leash(connection: Connection) -> Iterator[None]:
    """SQLite gives up what it does when BRIEF_SECONDS are over."""
    raw, end = _raw(connection), time.monotonic() + BRIEF_SECONDS
    raw.set_progress_handler(lambda: time.monotonic() > end, LEASH_STEPS)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)


def _was_interrupted(error: BaseException) -> bool:
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT


def _raw(connection: Connection) -> sqlite3.Connection:
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _create_private(path: Path) -> None:
    """SQLite would make it readable to others. A file that is there is not even opened: closing it again would drop
    the locks that this process holds on it through other connections (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _writing_engine(path: Path) -> Engine:
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(url, hide_parameters=True, connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout = {BUSY_MS}",
            *([f"auto_vacuum = {INCREMENTAL}"] if _is_new(connection) else []),
            "journal_mode = WAL",
            "synchronous = FULL",
            "wal_autocheckpoint = 0",
            f"journal_size_limit = {LONGEST}",
            "foreign_keys = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        _raw(connection).execute("BEGIN IMMEDIATE")

    return engine


def _is_new(connection: sqlite3.Connection) -> bool:
    """Nothing is written yet. Later it is too late to choose how the file is made, and to say it again is a commit."""
    pages: int = connection.execute("PRAGMA page_count").fetchone()[0]
    return pages == 0


def reading_engine(path: Path) -> AsyncEngine:
    """A pool of connections that can only read; each has a thread of its own."""
    url = URL.create("sqlite+aiosqlite", database=str(path))
    engine = create_async_engine(url, pool_size=READERS, max_overflow=0, hide_parameters=True)

    @event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    return engine


def check_place(path: Path) -> None:
    """Refuse what the locks cannot work on. Raises Misconfigured."""
    if sqlite3.sqlite_version_info < OLDEST:
        raise Misconfigured(f"SQLite {sqlite3.sqlite_version} is too old; {'.'.join(map(str, OLDEST))} is needed")
    mounts = Path("/proc/self/mounts")
    kind = filesystem_of(path.parent.resolve(), mounts.read_text()) if mounts.exists() else None
    if kind in NETWORK_FILESYSTEMS:
        raise Misconfigured(f"SQLite cannot live on a network file system ({kind}); use PostgreSQL or a local disk")


def filesystem_of(folder: Path, mounts: str) -> str | None:
    """The type of the file system that holds `folder`, by the system's list of mounts (Linux: proc(5), mounts)."""
    best: tuple[int, str | None] = (-1, None)
    for line in mounts.splitlines():
        _device, point, kind, *_rest = line.split(" ")
        point = point.replace("\\040", " ")
        if folder.is_relative_to(point) and len(point) >= best[0]:
            best = (len(point), kind)
    return best[1]
