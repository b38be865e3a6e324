"""A TCP server whose conversations all end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

Behaviour: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What is done with one connection. What never ends by itself ends with an OSError once the other end has hung up."""


@dataclass(frozen=True)
class Listener:
    """Where the server listens, and the conversations that go on."""

    host: str
    port: int
    conversations: set[asyncio.Task[None]] = field(default_factory=set)


@asynccontextmanager
async def listening(
    behave: Behaviour, host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None, backlog: int = 100
) -> AsyncIterator[Listener]:
    """Behave so to everybody who connects, each in a task of its own; hang up afterwards."""

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_converse(behave, reader, writer))
        listener.conversations.add(task)
        task.add_done_callback(listener.conversations.discard)

    server = await asyncio.start_server(accept, host, port, ssl=tls, backlog=backlog)
    listener = Listener(*server.sockets[0].getsockname()[:2])
    try:
        yield listener
    finally:
        server.close()
        for task in listener.conversations:
            task.cancel()
        await asyncio.gather(*listener.conversations, return_exceptions=True)
        await server.wait_closed()


async def _converse(behave: Behaviour, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await behave(reader, writer)
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
