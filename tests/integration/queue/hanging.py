"""A Redis that hangs at a certain command: a way to the real one that lets nothing pass from that command on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

Pass = Callable[[bytes], bool]
SIZE = 65_536


@dataclass
class Hanging:
    """`hangs`: whether anybody has sent `command`."""

    command: bytes
    hangs: bool = False
    _clients: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, real: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_unix_connection(real)
        ways = (_carry(reader, here, self._passes), _carry(there, writer, lambda _: not self.hangs))
        self._clients |= {asyncio.create_task(way) for way in ways}

    async def close(self) -> None:
        """Cut all connections."""
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _passes(self, sent: bytes) -> bool:
        self.hangs = self.hangs or self.command in sent
        return not self.hangs


@asynccontextmanager
async def hanging_at(command: bytes, real_url: str, folder: Path) -> AsyncIterator[tuple[str, Hanging]]:
    """The URL of the way to a Redis at `unix://…`."""
    hanging = Hanging(command)
    socket = folder / "hanging.sock"
    server = await asyncio.start_unix_server(partial(hanging.serve, Path(real_url.removeprefix("unix://"))), socket)
    try:
        yield f"unix://{socket}", hanging
    finally:
        server.close()
        await hanging.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: Pass) -> None:
    try:
        with suppress(ConnectionError):
            while part := await reader.read(SIZE):
                if passes(part):
                    writer.write(part)
                    await writer.drain()
    finally:
        writer.close()
