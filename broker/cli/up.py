"""`broker up`: everything on one machine, with nothing else installed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Annotated

import structlog
import typer

from broker import logs
from broker.bootstrap.outgoing import check_operator_webhook
from broker.cli.client import is_ready
from broker.cli.data_folder import DEFAULT_WORKSPACE, TOKEN_FILE, URL_FILE
from broker.cli.migrate import migrate_and_check
from broker.cli.processes import address_of, listen, run_to_its_end
from broker.cli.signals import on_stop
from broker.cli.supervisor import Child, Supervisor
from broker.errors import Conflict, Misconfigured
from broker.foundation import open_foundation
from broker.provision import SCOPES, Provision
from broker.queue.embedded import EmbeddedValkey, ValkeyUnavailable
from broker.secrets import token_hash
from broker.settings import Settings, load
from broker.store.database import Database
from broker.store.workspaces import token_by_hash

LOCK_FILE = "up.lock"
READY_SECONDS = 60.0
STOP_MARGIN = 75.0
"""How much longer than its grace a worker may take to stop: its last tries, and while its database takes no writes or
hangs, one wait for that after the other, some 45 s in all. One whose event loop is held is ended by its own
watchdog."""
LOOK_SECONDS = 0.5
ASK_SECONDS = 0.05

log = structlog.get_logger()


def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 = any free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for database, pictures, key and token.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    allow_network: Annotated[
        list[str] | None, typer.Option(metavar="CIDR", help="A private network that downloads and webhooks may reach.")
    ] = None,
) -> None:
    """Start everything on this machine: database, Valkey, API and workers. Ctrl-C stops it in good order."""
    options = {"host": host, "port": port, "data_dir": data_dir}
    given = {name: value for name, value in options.items() if value is not None}
    if allow_network:
        given["allow_networks"] = ",".join(allow_network)
    settings = load(**given)
    logs.configure(settings.log_format, settings.log_level)
    check_operator_webhook(settings)  # or all workers would end at once, again and again
    with _only_one(settings.data_dir), listen(settings.host, settings.port) as listening:
        run_to_its_end(_up(settings, listening, workers))


async def _up(settings: Settings, listening: socket.socket, workers: int) -> int:
    """Start everything and keep it running until a signal; whenever that comes, nothing is left behind."""
    valkey = EmbeddedValkey(settings.data_dir)
    try:
        redis_url = settings.redis_url or _start_valkey(valkey)
        await migrate_and_check(settings)
        await _provision(settings)
        supervisor = Supervisor(_children(settings, redis_url, listening, workers))
        ours = valkey if redis_url and not settings.redis_url else None
        await _run(settings, redis_url, listening, supervisor, ours)
    finally:
        valkey.stop()
        (settings.data_dir / URL_FILE).unlink(missing_ok=True)
    return 0


async def _run(
    settings: Settings,
    redis_url: str,
    listening: socket.socket,
    supervisor: Supervisor,
    valkey: EmbeddedValkey | None,
) -> None:
    """Until a signal, or until a process does not start. Children get the first signal at once, ready or not."""
    url = address_of(listening)
    (settings.data_dir / URL_FILE).write_text(url + "\n")  # before web answers, for who waits for that
    serving = asyncio.ensure_future(_serve(settings, url, redis_url, supervisor, valkey))

    def stop() -> None:
        serving.cancel()
        supervisor.tell_to_stop()

    on_stop(stop, supervisor.hurry)
    try:
        supervisor.start()
        await asyncio.wait({serving})
        if not serving.cancelled():
            log.warning("up.stopping")
    finally:
        stop()
        listening.close()  # web closes its own; who connects while workers drain is refused and does not hang
        clean = await supervisor.stopped(settings.grace_seconds + STOP_MARGIN)
    if not serving.cancelled():
        serving.result()
    if not clean:
        raise Misconfigured("a process did not end in good order; its log says more")


async def _serve(
    settings: Settings, url: str, redis_url: str, supervisor: Supervisor, valkey: EmbeddedValkey | None
) -> None:
    """Greet once everything is ready, and keep it so until cancelled."""
    await _until_ready(url, supervisor)
    _greet(settings, url, redis_url)
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.watch())
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if valkey is not None and valkey.pid is None:
                _revive(valkey)


def _revive(valkey: EmbeddedValkey) -> None:
    """Start the embedded Valkey again when it died; meanwhile workers look into SQL."""
    log.error("up.restarting", process="valkey")
    with suppress(ValkeyUnavailable):
        valkey.start()


def _only_one(data_dir: Path) -> IO[str]:
    """Make the data folder and hold its lock: two `up` on one folder would fight over its files."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (data_dir / LOCK_FILE).open("w")
    except OSError as error:
        raise Misconfigured(f"the data folder {data_dir} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise Misconfigured(f"a broker is running already on the data folder {data_dir}") from error
    return lock


def _start_valkey(valkey: EmbeddedValkey) -> str:
    try:
        return valkey.start()
    except ValkeyUnavailable as error:
        log.warning("up.without_redis", reason=str(error))
        return ""


async def _provision(settings: Settings) -> None:
    """The workspace `default` and a token of it that works: on the first start, and where the old one was lost."""
    path = settings.data_dir / TOKEN_FILE
    async with open_foundation(settings) as opened:
        provision = Provision(opened.database, opened.vault)
        with suppress(Conflict):
            await provision.workspace(DEFAULT_WORKSPACE)
        if path.exists() and await _works(opened.database, path.read_text(errors="replace").strip()):
            return
        token = await provision.token(DEFAULT_WORKSPACE, "broker up", SCOPES)
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
    unfinished.replace(path)


async def _works(database: Database, token: str) -> bool:
    async with database.reading() as connection:
        return await token_by_hash(connection, token_hash(token)) is not None


def _children(settings: Settings, redis_url: str, listening: socket.socket, workers: int) -> list[Child]:
    listening.set_inheritable(True)
    environment = {
        "BROKER_DATA_DIR": str(settings.data_dir.resolve()),
        "BROKER_REDIS_URL": redis_url,
        "BROKER_ALLOW_NETWORKS": ",".join(settings.allow_networks),
        "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2"),
    }
    descriptor = listening.fileno()
    web = Child("web", ["-m", "broker", "web", "--listen-fd", str(descriptor)], environment, (descriptor,))
    return [web, *(Child(f"worker {n + 1}", ["-m", "broker", "worker"], environment) for n in range(workers))]


async def _until_ready(url: str, supervisor: Supervisor) -> None:
    """Raises Misconfigured when it does not get ready. A child that was killed or recycled is started again."""
    end = time.monotonic() + READY_SECONDS
    answering = asyncio.ensure_future(_answering(url))
    try:
        while time.monotonic() < end:
            ready = answering.done()
            if failed := supervisor.failed():
                raise Misconfigured(f"the process {failed.name} did not start")
            if ready:
                return answering.result()
            supervisor.look()
            await asyncio.wait({answering}, timeout=ASK_SECONDS)
    finally:
        answering.cancel()
    raise Misconfigured(f"the API was not ready within {READY_SECONDS:g} s")


async def _answering(url: str) -> None:
    while not await is_ready(url):
        await asyncio.sleep(ASK_SECONDS)


def _greet(settings: Settings, url: str, redis_url: str) -> None:
    token = settings.data_dir / TOKEN_FILE
    typer.echo(f"""
The broker is ready.

  API      {url}      (described at {url}/docs)
  token    {token}
  Redis    {"embedded" if redis_url.startswith("unix://") else (redis_url and "as set") or "none; work is found in SQL"}

Try it from another terminal:

  curl -H "Authorization: Token $(cat {token})" -H "Content-Type: application/json" \\
    -d '{{"type":"upscaler","records":[{{"_url":"https://example.com/photo.jpg"}}]}}' {url}/account/v2/request

Ctrl-C stops it.
""")
