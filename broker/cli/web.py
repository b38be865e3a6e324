"""`broker web`: a process that serves the API."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Annotated

import structlog
import typer
import uvicorn
from starlette.types import ASGIApp

from broker.api.app import create_app
from broker.bootstrap.web import open_web
from broker.cli.processes import address_of, begin, freeze, keep_little_memory, listen, run_to_its_end
from broker.cli.signals import on_stop
from broker.settings import Settings

DATE_SECONDS = 1.0

log = structlog.get_logger()


def web(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [BROKER_HOST]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 = any free one. [BROKER_PORT]")] = None,
    listen_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve the API."""
    settings = begin(**_given(host=host, port=port))
    keep_little_memory()
    run_to_its_end(_serve(settings, listen_fd))


class Server(uvicorn.Server):
    """uvicorn whose signals are ours: its own handling would end the process by the signal, not with status 0.

    So it need not look for one ten times a second; it wakes for the second that its answers are dated by.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # it dates answers at each tenth tick, of which this is one
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DATE_SECONDS):
                    await self._stopping.wait()

    def stop(self) -> None:
        self.should_exit = True
        self._stopping.set()

    def hurry(self) -> None:
        self.force_exit = True


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
    server = Server(config)

    on_stop(server.stop, server.hurry)
    freeze()
    log.info("web.started", url=address_of(listening))
    await server.serve(sockets=[listening])


async def _serve(settings: Settings, listen_fd: int | None) -> int:
    listening = listen(settings.host, settings.port) if listen_fd is None else socket.socket(fileno=listen_fd)
    async with open_web(settings) as web:
        await serve(create_app(web), listening, settings.grace_seconds)
    log.info("web.stopped")
    return 0


def _given(**options: object) -> dict[str, object]:
    """The options that were given on the command line; the rest is the environment's."""
    return {name: value for name, value in options.items() if value is not None}
