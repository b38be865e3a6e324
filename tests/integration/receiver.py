"""A customer's webhook receiver: keeps what is posted to it and answers what it is told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.integration.net.servers import Answer, reply
from tests.integration.net.tcp import listening

OnPost: TypeAlias = Callable[[], Awaitable[None]]

PATIENCE = 20.0
"""Seconds after which a wait for POSTs is a failure."""


@dataclass(frozen=True)
class Post:
    """One POST as it came in; header names in lower case, in the order in which they came."""

    target: str
    raw_headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        return dict(self.raw_headers)

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """An HTTP/1.1 server on 127.0.0.1. `answers` are given in turn, the last one for ever.

    on_post: awaited between a POST's arrival and its answer. broken: set once the sender hung up on an answer.
    """

    answers: list[Answer] = field(default_factory=lambda: [reply(200, b"thanks")])
    posts: list[Post] = field(default_factory=list)
    on_post: OnPost | None = None
    broken: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, target: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{target}"

    async def posted(self, count: int = 1) -> list[Post]:
        """The first `count` POSTs, once they are there."""
        async with asyncio.timeout(PATIENCE), self._came:
            await self._came.wait_for(lambda: len(self.posts) >= count)
        return self.posts[:count]

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[Receiver]:
        async with listening(self._serve) as listener:
            self.port = listener.port
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            post = await read_post(reader)
            self.posts.append(post)
            answer = self.answers[min(len(self.posts), len(self.answers)) - 1]
            if self.on_post is not None:
                await self.on_post()
            async with self._came:
                self._came.notify_all()
            if callable(answer):
                await answer(writer)
            else:
                writer.write(answer)
            await writer.drain()
        except ConnectionError:
            self.broken.set()


async def read_post(reader: asyncio.StreamReader) -> Post:
    """One request. Raises IncompleteReadError when the sender hangs up before its end."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    parts = (line.partition(":") for line in lines)
    headers = tuple((name.lower(), value.strip()) for name, _, value in parts)
    body = await reader.readexactly(int(dict(headers).get("content-length", 0)))
    return Post(first.split(" ")[1], headers, body)
