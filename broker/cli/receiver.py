"""A local HTTP server for the demo: serves the photographs, takes the webhook, keeps what came."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.errors import BrokerError

MAX_HEAD = 64 * 1024


@dataclass(frozen=True, slots=True)
class Received:
    """One POST as it arrived; header names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """Listens on a free port of 127.0.0.1 while it is entered. `files`: path -> file that a GET answers with."""

    files: Mapping[str, Path]
    url: str = ""
    received: asyncio.Queue[Received] = field(default_factory=asyncio.Queue)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=MAX_HEAD)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()

    async def next(self, seconds: float) -> Received:
        """The next POST. Raises BrokerError when none comes in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self.received.get()
        except TimeoutError as error:
            raise BrokerError(f"no webhook came within {seconds:g} s") from error

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _version = head[0].split(" ")
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if method == "GET" and path in self.files:
            writer.write(_response("200 OK", await asyncio.to_thread(self.files[path].read_bytes)))
        elif method == "POST":
            self.received.put_nowait(Received(path, headers, body))
            writer.write(_response("204 No Content", b""))
        else:
            writer.write(_response("404 Not Found", b""))


def _response(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
