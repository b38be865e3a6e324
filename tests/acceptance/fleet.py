"""The processes of a fleet, as the Procfile starts them: `broker migrate`, `web`, `worker`."""

from __future__ import annotations

import fcntl
import json
import re
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import text

from broker.bootstrap.core import open_core
from broker.provision import Provision
from broker.settings import load
from broker.store.database import open_database
from tests.acceptance.broker import Api
from tests.acceptance.processes import Commands, Done, Running, is_ready, until
from tests.databases import run_aside

KEY = "the key of this test which is long enough"


@dataclass
class Fleet:
    """Processes that share a database and a key. `web` is the newest one."""

    commands: Commands
    database_url: str
    redis_url: str = ""
    _web: Running | None = None
    _token: str = ""

    def __post_init__(self) -> None:
        self.commands = self.commands.with_environment(
            BROKER_DATABASE_URL=self.database_url,
            BROKER_REDIS_URL=self.redis_url,
            BROKER_SECRET_KEY=KEY,
            BROKER_DATA_DIR=str(self.commands.folder / "data"),
        )

    @property
    def web(self) -> Running:
        assert self._web is not None
        return self._web

    @property
    def token(self) -> str:
        """The token that `provision` made."""
        return self._token

    @property
    def blobs(self) -> dict[Path, tuple[int, int]]:
        """What lies in the blob store: the inode and the time of writing of each file."""
        paths = (self.commands.folder / "data" / "blobs").rglob("*")
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths if path.is_file()}

    def say(self, *arguments: str) -> Done:
        """Run an operator's command that must work."""
        done = self.commands.run(*arguments)
        assert done.code == 0, done.err
        return done

    def provision(self) -> None:
        """Make the workspace `default` and a token, once."""
        self._token = self._token or run_aside(_token(self.database_url, self.commands.folder / "data"))

    def start_web(self, before: tuple[str, ...] = (), **environment: str) -> Api:
        """Start a web process on a free port; returns once it is ready."""
        self.provision()
        web = self.commands.with_environment(**environment).start("web", "--port", "0", before=before)
        self._web = web
        until(lambda: _still_running(web) and url_of(web), "web has started")
        url = url_of(web)
        until(lambda: is_ready(url), "web is ready")
        return Api(url, self._token)

    def start_worker(self, *options: str, **environment: str) -> Running:
        """Start a worker process; returns once it looks for work, though what it found may have ended it by then."""
        worker = self.commands.with_environment(**environment).start("worker", *options)
        until(lambda: _ended(worker) or worker.says("worker.started"), "worker has started")
        assert worker.says("worker.started"), worker.err.read_text()
        return worker

    def freeze(self, process: Running, batch: str) -> None:
        """Stop a process at a moment at which it keeps nobody from writing about a batch."""
        process.signal(signal.SIGSTOP)
        while not run_aside(_is_free(self.database_url, batch)):
            process.signal(signal.SIGCONT)
            time.sleep(0.01)
            process.signal(signal.SIGSTOP)

    def rows(self, table: str, batch: str) -> list[dict[str, Any]]:
        """What a table of the database holds of a batch."""
        return run_aside(_rows(self.database_url, self.commands.folder, table, batch))


async def _is_free(database_url: str, batch: str) -> bool:
    """Whether the database's lock file, or the batch's row, can be locked."""
    if database_url.startswith("sqlite"):
        with Path(database_url.removeprefix("sqlite:///") + ".lock").open() as lock, suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SELECT 1 FROM batches WHERE id = $1 FOR UPDATE NOWAIT", batch)
    except asyncpg.LockNotAvailableError:
        return False
    finally:
        await connection.close()
    return True


async def _rows(database_url: str, data_dir: Path, table: str, batch: str) -> list[dict[str, Any]]:
    database = open_database(database_url, data_dir)
    try:
        async with database.reading() as connection:
            column = "id" if table == "batches" else "batch_id"
            rows = await connection.execute(text(f"SELECT * FROM {table} WHERE {column} = :id"), {"id": batch})
            return [dict(row) for row in rows.mappings()]
    finally:
        await database.aclose()


async def _token(database_url: str, data_dir: Path) -> str:
    """A token of a new workspace `default`; what the operator's commands do, without starting them."""
    settings = load(database_url=database_url, data_dir=data_dir, secret_key=KEY)
    async with open_core(settings) as core:
        provision = Provision(core.database, core.vault)
        await provision.workspace("default")
        return await provision.token("default", "test", ("submit", "read"))


def url_of(web: Running) -> str:
    """The URL that a web process says it serves; empty until it does."""
    found = re.search(r'^\{.*"event": "web.started".*\}$', web.err.read_text(), re.MULTILINE)
    return str(json.loads(found.group())["url"]) if found else ""


def _still_running(running: Running) -> bool:
    assert not _ended(running), running.err.read_text()
    return True


def _ended(running: Running) -> bool:
    return running.process.poll() is not None
