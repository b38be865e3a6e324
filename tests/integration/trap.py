"""A receiver that behaves as badly as it is told to, on the raw connection."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.integration.net.tcp import Behaviour, listening
from tests.integration.receiver import read_post

if TYPE_CHECKING:
    import ssl

_RESET = struct.pack("ii", 1, 0)


@dataclass
class Trap:
    """A TCP server on 127.0.0.1. connections: how many were opened to it."""

    behave: Behaviour
    scheme: str = "http"
    connections: int = 0
    port: int = 0
    _conversations: set[asyncio.Task[None]] = field(default_factory=set)

    def url(self, host: str = "127.0.0.1") -> str:
        return f"{self.site(host)}/hook"

    def site(self, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}"

    async def had(self, connections: int) -> None:
        """Until so many were opened. Raises TimeoutError."""
        async with asyncio.timeout(20):
            while self.connections < connections:
                await asyncio.sleep(0.01)

    async def left(self, seconds: float = 20, *, but: int = 0) -> None:
        """Until nobody is connected any more, or no more than so many. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while len(self._conversations) > but:
                await asyncio.wait(self._conversations, return_when=asyncio.FIRST_COMPLETED)

    @asynccontextmanager
    async def listen(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Trap]:
        async with listening(self._serve, tls=tls) as listener:
            self.scheme = "https" if tls else self.scheme
            self.port, self._conversations = listener.port, listener.conversations
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await self.behave(reader, writer)


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
