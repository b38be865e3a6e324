"""`broker web`, `worker`, `migrate`: the processes of a fleet."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
from collections.abc import Coroutine, Generator
from typing import Annotated, Any, TypeVar

import structlog
import typer
import uvicorn
import uvloop
from starlette.types import ASGIApp

from broker import logs
from broker.api.app import create_app
from broker.bootstrap import check_key, open_vault, open_web, open_work
from broker.cli.signals import on_stop
from broker.errors import Misconfigured
from broker.queue.worker import BatchWorker
from broker.settings import Settings, load, unknown_names
from broker.store.database import open_database
from broker.store.leases import Claim
from broker.store.migrate import migrate as migrate_database

RECYCLED = 75
"""Exit status of a worker that shall be started anew (EX_TEMPFAIL of sysexits.h): a handler's thread does not end."""

log = structlog.get_logger()
T = TypeVar("T")


def web(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [BROKER_HOST]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 = any free one. [BROKER_PORT]")] = None,
    listen_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve the API."""
    settings = begin(**_given(host=host, port=port))
    run(_serve(settings, listen_fd))


def worker(
    types: Annotated[str, typer.Option(help="Comma-separated types to work on; default: all installed.")] = "",
) -> None:
    """Run batches and send webhooks."""
    settings = begin()
    recycling = run(_work(settings, [type.strip() for type in types.split(",") if type.strip()]))
    _end(RECYCLED if recycling else 0)


def migrate() -> None:
    """Bring the database to this version's schema. Safe to run again, and from several machines at once."""
    settings = begin()
    run(migrate_and_check(settings))
    typer.echo("The database has this version's schema.")


def begin(**options: object) -> Settings:
    """The settings of a process that serves or works, with its logs set up. A name that is no setting is told."""
    settings = load(**options)
    logs.configure(settings.log_format, settings.log_level)
    for name in unknown_names():
        log.warning("settings.unknown", name=name)
    return settings


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop."""
    return uvloop.run(main)


def _end(status: int) -> None:
    """End now that all is closed: a handler's thread that does not heed its end must not keep us."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def freeze() -> None:
    """What lives from the start on is never looked at again: a full collection costs 20 ms otherwise."""
    gc.collect()
    gc.freeze()


async def migrate_and_check(settings: Settings) -> None:
    """Migrate, and make sure that the key fits before anything relies on it."""
    vault = open_vault(settings)
    database = open_database(settings.database_url, settings.data_dir)
    try:
        await migrate_database(database)
        await check_key(database, vault)
    finally:
        await database.aclose()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises Misconfigured where there can be none."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise Misconfigured(f"cannot listen on {host} port {port}: {error.strerror}") from error


def address_of(listening: socket.socket) -> str:
    """The URL under which a listening socket is reached from this machine."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn whose signals are ours: its own handling would end the process by the signal, not with status 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve(app: ASGIApp, listening: socket.socket, grace_seconds: float) -> None:
    """Serve until SIGINT or SIGTERM; running answers are waited for."""
    config = uvicorn.Config(
        app,
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(grace_seconds),
    )
    server = _Server(config)

    def stop() -> None:
        server.should_exit = True

    on_stop(stop)
    freeze()
    await server.serve(sockets=[listening])


async def _serve(settings: Settings, listen_fd: int | None) -> None:
    listening = listen(settings.host, settings.port) if listen_fd is None else socket.socket(fileno=listen_fd)
    async with open_web(settings) as web:
        log.info("web.started", url=address_of(listening))
        await serve(create_app(web), listening, settings.grace_seconds)
    log.info("web.stopped")


async def _work(settings: Settings, types: list[str]) -> bool:
    """Work until a signal, or until this process is worn out. True for the second: it shall be started anew."""
    async with open_work(settings, types) as work:
        worker = BatchWorker[Claim](
            settings.redis_url or None,
            types=work.types,
            slots=settings.worker_batches,
            claim=work.claim,
            run=work.run,
            grace_seconds=settings.grace_seconds,
        )
        on_stop(worker.stop)
        work.crew.on_recycle(worker.stop)
        freeze()
        log.info("worker.started", types=work.types, owner=work.owner)
        await worker.async_run()
    log.info("worker.stopped")
    return work.crew.recycling


def _given(**options: object) -> dict[str, object]:
    """The options that were given on the command line; the rest is the environment's."""
    return {name: value for name, value in options.items() if value is not None}
