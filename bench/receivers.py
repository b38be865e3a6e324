"""Webhook receivers, each on a port of its own: some answer at once, some take a POST and never answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass
class Receivers:
    """`arrived`: webhook id -> when it first came to a receiver that answers, in seconds since 1970."""

    healthy: list[str] = field(default_factory=list)
    hanging: list[str] = field(default_factory=list)
    arrived: dict[str, float] = field(default_factory=dict)
    _clients: set[asyncio.Task[None]] = field(default_factory=set)

    def accept(self, answers: bool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer, answers=answers))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        try:
            while True:
                headers = await _read_post(reader)
                if not answers:
                    continue
                self.arrived.setdefault(headers["webhook-id"], time.time())
                writer.write(OK)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def close(self) -> None:
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)


@asynccontextmanager
async def receiving(healthy: int, hanging: int) -> AsyncIterator[Receivers]:
    """So many of each kind; `healthy` and `hanging` are their URLs."""
    receivers = Receivers()
    servers: list[asyncio.Server] = []
    try:
        for urls, count, answers in ((receivers.healthy, healthy, True), (receivers.hanging, hanging, False)):
            for _ in range(count):
                server = await asyncio.start_server(partial(receivers.accept, answers), "127.0.0.1", 0)
                servers.append(server)
                urls.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook")
        yield receivers
    finally:
        for server in servers:
            server.close()
        await receivers.close()


async def _read_post(reader: asyncio.StreamReader) -> dict[str, str]:
    """The headers of one POST, its body read. Raises IncompleteReadError when the sender hangs up."""
    _, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    await reader.readexactly(int(headers["content-length"]))
    return headers
