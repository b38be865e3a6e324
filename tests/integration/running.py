"""A whole broker in the test's own event loop: the web process's parts behind uvicorn, a worker process's parts."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import re
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import asyncpg
import httpx
import uvicorn
from sqlalchemy import Connection, Executable, Row, select

from broker.accept import SMALL_PICTURE
from broker.api.app import create_app
from broker.api.openapi import document
from broker.batches import Status
from broker.bootstrap.core import Core, open_core
from broker.bootstrap.web import Web, open_web
from broker.bootstrap.work import Work, open_work
from broker.provision import Provision
from broker.queue.worker import BatchWorker
from broker.settings import Settings, load
from broker.store.claims import Claim
from broker.store.tables import BatchRow, table
from handlers.registry import Registry
from tests.openapi_check import Contract

T = TypeVar("T")
BATCHES = table(BatchRow)
KEY = "the-key-of-these-tests-at-least-32-characters"
ROOT = "/account/v2/request"
API = "/api"
PHOTOGRAPHS = Path(__file__).parents[2] / "broker" / "cli" / "photographs"
DOCUMENTED = re.compile(
    rf"({ROOT}(/[^/]+(/status)?)?|{API}/batches(/[^/]+(/(cancel|retry|pause|resume))?)?|{API}/workspace/(pause|resume)"
    rf"|{API}/endpoints(/[^/]+(/enable)?)?|{API}/webhook-(secret|test)|{API}/deliveries(/[^/]+(/replay)?)?"
    r"|/media/.+|/healthz|/readyz)/?"
)
LOOK_SECONDS = 0.1
POLL_SECONDS = 0.03
PATIENCE = 30.0


def photograph(name: str) -> bytes:
    return (PHOTOGRAPHS / name).read_bytes()


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def as_blob(picture: bytes) -> dict[str, str]:
    """A record whose picture is sent along and has more bytes than lie in SQL; what stands behind it is not read."""
    return {"_base64": in_base64(picture + bytes(SMALL_PICTURE))}


def settings_for(data_dir: Path, database_url: str, **overrides: object) -> Settings:
    """Settings under which a test's own servers on 127.0.0.1 may be reached and nothing waits long."""
    defaults: dict[str, object] = {
        "data_dir": data_dir,
        "database_url": database_url,
        "secret_key": KEY,
        "allow_networks": ("127.0.0.0/8",),
        "min_free_bytes": 0,
        "fetch_pause": 0,
        "webhook_schedule": ("0", "0", "0"),
        "models_dir": data_dir / "models",
    }
    return load(**(defaults | overrides))


async def until(holds: Callable[[], Awaitable[T | None]], seconds: float = PATIENCE) -> T:
    """The first true answer of `holds`. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            if answer := await holds():
                return answer
            await asyncio.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class Tenant:
    """A workspace with a token that may do everything in it."""

    workspace: str
    token: str
    secret: str


@dataclass(frozen=True)
class Store:
    """The broker's database as a test looks into it and meddles with it."""

    core: Core

    async def rows(self, statement: Executable) -> Sequence[Row[Any]]:
        async with self.core.database.reading() as connection:
            return (await connection.execute(statement)).all()

    async def row(self, statement: Executable) -> Row[Any]:
        (row,) = await self.rows(statement)
        return row

    async def change(self, statement: Executable) -> int:
        """The number of rows that an UPDATE, INSERT or DELETE met."""
        return await self.core.database.writer.write(_execute, statement)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Let no other process write: every write waits, none fails."""
        url = self.core.settings.database_url
        if url.startswith("sqlite"):
            with Path(url.removeprefix("sqlite:///") + ".lock").open() as lock:
                await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
                yield
            return
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE batches, results, chores, deliveries, attempts IN EXCLUSIVE MODE")
                yield
        finally:
            await connection.close()

    async def destroy(self) -> None:
        """Take the database away for good: let nobody in, or overwrite the file of SQLite, its log emptied before."""
        url = self.core.settings.database_url
        if url.startswith("sqlite"):
            path = Path(url.removeprefix("sqlite:///"))
            with sqlite3.connect(path) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
            path.write_bytes(b"no database" * 10_000)
            return
        name = url.partition("?")[0].rpartition("/")[2]
        connection = await asyncpg.connect(url.replace(f"/{name}?", "/postgres?"))
        await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        await connection.close()

    async def tenant(self, name: str, scopes: Sequence[str] = ("submit", "read"), grants: Sequence[str] = ()) -> Tenant:
        provision = Provision(self.core.database, self.core.vault)
        workspace = await provision.workspace(name)
        token = await provision.token(name, "test", scopes, grants)
        (secret,) = await provision.webhook_secrets(name)
        return Tenant(workspace.id, token, secret)

    async def token(self, workspace: str, scopes: Sequence[str]) -> str:
        return await Provision(self.core.database, self.core.vault).token(workspace, "another", scopes)


def _execute(connection: Connection, statements: Sequence[Executable]) -> list[int]:
    return [connection.execute(statement).rowcount for statement in statements]


@dataclass(frozen=True)
class Broker:
    """A running web process's parts, seen from outside by `http`, which sends the default tenant's token."""

    web: Web
    store: Store
    tenant: Tenant
    http: httpx.AsyncClient

    @property
    def core(self) -> Core:
        return self.web.core

    @property
    def blobs(self) -> list[str]:
        """Keys of what lies in the blob store."""
        folder = self.core.blobs.folder
        assert folder is not None
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    async def post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The accepted answer to a POST."""
        answer = await self.http.post(ROOT, json=body)
        assert answer.status_code == 201, answer.text
        accepted: dict[str, Any] = answer.json()
        return accepted

    async def get(self, path: str, **options: Any) -> dict[str, Any]:
        """What a GET is answered that succeeds."""
        answer = await self.http.get(path, **options)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def details(self, id: str) -> dict[str, Any]:
        return await self.get(f"{ROOT}/{id}")

    async def done(self, id: str) -> dict[str, Any]:
        """The details of a batch once it is DONE."""
        await until(lambda: self._is_done(id))
        return await self.details(id)

    async def run(self, type: str, *records: Mapping[str, Any], **body: Any) -> list[dict[str, Any]]:
        """Submit records and return their results."""
        accepted = await self.post({"type": type, "records": records, **body})
        results: list[dict[str, Any]] = (await self.done(accepted["id"]))["response"]["records"]
        return results

    async def _is_done(self, id: str) -> bool:
        """Asked so often that a request each time would be half of what many a test costs."""
        row = await self.store.row(select(BATCHES.c.status).where(BATCHES.c.id == id))
        return Status(row.status) is Status.DONE


@dataclass(frozen=True)
class Worker:
    """A running worker process's parts."""

    work: Work
    batches: BatchWorker[Claim]
    task: asyncio.Task[None]

    async def stop(self) -> None:
        """As on the first signal: with the settings' grace."""
        self.batches.stop()
        await self.task


class StartBroker(Protocol):
    async def __call__(self, **overrides: object) -> Broker: ...


class StartWorker(Protocol):
    async def __call__(self, *types: str, **overrides: object) -> Worker: ...


class _Judge:
    """Holds every answer that a test gets against the OpenAPI document of the installed types."""

    _contracts: ClassVar[dict[tuple[str, ...], Contract]] = {}

    def __init__(self, registry: Registry) -> None:
        types = tuple(registry)
        if types not in self._contracts:
            self._contracts[types] = Contract(document(registry))
        self._contract = self._contracts[types]

    async def __call__(self, response: httpx.Response) -> None:
        path = response.request.url.path
        if DOCUMENTED.fullmatch(path):
            await response.aread()
            self._contract.check_answer(response.request.method, path, response)


class _Server(uvicorn.Server):
    """uvicorn that leaves the test run's signals alone and stops at once, not at its next tick."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stop = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def main_loop(self) -> None:
        await self.stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, without its pause where all clients have hung up, which most have by then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                while self.server_state.connections:
                    await asyncio.sleep(0.001)
        if self.server_state.connections:
            await super().shutdown(sockets)
        for server in self.servers:
            server.close()


@asynccontextmanager
async def serving(web: Web) -> AsyncIterator[str]:
    """Serve the application on a free port; yields its URL."""
    config = uvicorn.Config(
        create_app(web),
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    server = _Server(config)
    # With its protocol named, asyncio sends small answers at once (TCP_NODELAY), as uvloop always does.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.stop.set()
            await task


@asynccontextmanager
async def run_broker(settings: Settings) -> AsyncIterator[Broker]:
    """Everything of `broker web`, and a first tenant."""
    async with AsyncExitStack() as stack:
        web = await stack.enter_async_context(open_web(settings))
        store = Store(web.core)
        tenant = await store.tenant("default")
        url = await stack.enter_async_context(serving(web))
        client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Token {tenant.token}"},
            event_hooks={"response": [_Judge(web.core.registry)]},
            timeout=PATIENCE,
            trust_env=False,
            verify=False,
        )
        yield Broker(web, store, tenant, await stack.enter_async_context(client))


@asynccontextmanager
async def run_worker(settings: Settings, types: Sequence[str] = ()) -> AsyncIterator[Worker]:
    """Everything of `broker worker`; what still runs at the end is cancelled."""
    async with open_work(settings, types) as work:
        batches = BatchWorker[Claim](
            settings.redis_url or None,
            types=work.types,
            slots=settings.worker_batches,
            claim=work.claim,
            more=lambda: work.claim.more,
            run=work.run,
            idle_seconds=LOOK_SECONDS,
            grace_seconds=settings.grace_seconds,
        )
        task = asyncio.create_task(batches.async_run())
        try:
            yield Worker(work, batches, task)
        finally:
            batches.stop_now()
            await task


@asynccontextmanager
async def core_of(settings: Settings) -> AsyncIterator[Store]:
    """The parts of a process that only looks."""
    async with open_core(settings) as core:
        yield Store(core)
