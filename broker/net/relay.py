"""Bytes from one connection to another, no faster than the slower one takes them."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

CHUNK = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Stream:
    """One TCP connection. told: whether anything was sent over it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    told: bool = False

    def __post_init__(self) -> None:
        self.writer.transport.set_write_buffer_limits(0)

    async def send(self, data: bytes) -> None:
        """Return once it is in the system's hands, so no sooner than the other end keeps up."""
        self.told = True
        self.writer.write(data)
        await self.writer.drain()

    def finish(self) -> None:
        """Say that nothing more comes; the other direction stays open."""
        if not self.writer.is_closing():
            self.writer.write_eof()

    async def linger(self, seconds: float) -> None:
        """Finish, and read on until the other end does: bytes left unread would reset what was sent last."""
        self.finish()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self.reader.read(CHUNK):
                    pass

    async def aclose(self) -> None:
        """Close once everything is sent."""
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    def abort(self) -> None:
        """Close at once, with a reset unless it is closed already: an end that is cut must not look like one."""
        if not self.writer.is_closing() or self.writer.transport.get_write_buffer_size():
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.writer.transport.abort()


async def pump(source: asyncio.StreamReader, sink: Stream, moved: Callable[[], None]) -> None:
    """Pass on all that comes, and then its end. `moved` is called for every part, before and after."""
    while part := await source.read(CHUNK):
        moved()
        await sink.send(part)
        moved()
    sink.finish()


async def pump_some(source: asyncio.StreamReader, length: int, sink: Stream, moved: Callable[[], None]) -> None:
    """Pass on `length` bytes, or what comes of them before the end."""
    while length and (part := await source.read(min(CHUNK, length))):
        length -= len(part)
        moved()
        await sink.send(part)
        moved()


async def both(*directions: Coroutine[None, None, None]) -> None:
    """Run them side by side; the first that fails ends them all."""
    tasks = [asyncio.create_task(direction) for direction in directions]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
