"""A receiver that behaves as badly as it is told to, on the raw connection."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from tests.integration.receiver import read_post

if TYPE_CHECKING:
    import ssl

Behaviour: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What is done with one connection. What never ends by itself ends with an OSError once the sender has hung up."""

_RESET = struct.pack("ii", 1, 0)


@dataclass
class Trap:
    """A TCP server on 127.0.0.1. connections: how many were opened to it."""

    behave: Behaviour
    scheme: str = "http"
    connections: int = 0
    port: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def url(self, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}/hook"

    async def left(self, seconds: float = 20) -> None:
        """Until nobody is connected any more. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while self._tasks:
                await asyncio.wait(self._tasks)

    @asynccontextmanager
    async def listen(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Trap]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=tls)
        self.scheme = "https" if tls else self.scheme
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.behave(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def says(*parts: bytes) -> Behaviour:
    """Reads the POST, says this, and hangs up."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_post(reader)
        writer.write(b"".join(parts))
        await writer.drain()

    return behave


def repeats(first: bytes, again: bytes, pause: float = 0.0) -> Behaviour:
    """Reads the POST, says `first`, then `again` for ever, with `pause` seconds between."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_post(reader)
        writer.write(first)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(pause)

    return behave


def waits(*parts: bytes) -> Behaviour:
    """Reads the POST, says this, and holds the connection until the sender hangs up."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_post(reader)
        writer.write(b"".join(parts))
        await until_left(reader)

    return behave


def resets(*parts: bytes) -> Behaviour:
    """Reads the POST, says this, and breaks the connection off with a reset."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_post(reader)
        writer.write(b"".join(parts))
        await writer.drain()
        await asyncio.sleep(0.05)  # what was said has arrived
        reset(writer)

    return behave


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def until_left(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def never_listens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A behaviour: take all that comes and say nothing until the sender hangs up."""
    await until_left(reader)
