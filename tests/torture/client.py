"""A careful customer's HTTP client: what is not answered, or answered with 503, is asked again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.torture.fleet import Slot

ANSWER_SECONDS = 10.0
PAUSE_SECONDS = 0.1
AT_ONCE = 48
"""Requests under way: what httpx spends on each grows with them, and the customer's server needs the same processor."""


@dataclass(frozen=True)
class Answered:
    """An answer, and how often was asked for it."""

    response: httpx.Response
    tries: int


@dataclass
class Client:
    """Asks one web after the other, beginning anywhere."""

    http: httpx.AsyncClient
    webs: Sequence[Slot]
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def post(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answered:
        return await self._ask(lambda url: self.http.build_request("POST", url + path, json=body, headers=headers))

    async def get(self, path: str) -> Answered:
        return await self._ask(lambda url: self.http.build_request("GET", url + path))

    async def _ask(self, request: Callable[[str], httpx.Request]) -> Answered:
        place, tries = random.randrange(len(self.webs)), 0
        while True:
            place, tries = (place + 1) % len(self.webs), tries + 1
            try:
                async with self._room:
                    response = await self.http.send(request(self.webs[place].url))
            except httpx.TransportError:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if not _asks_for_patience(response):
                return Answered(response, tries)
            await asyncio.sleep(PAUSE_SECONDS)


def _asks_for_patience(response: httpx.Response) -> bool:
    """A 503 says when to ask again; one that does not is an answer like any other, and no good one."""
    return response.status_code == httpx.codes.SERVICE_UNAVAILABLE and "Retry-After" in response.headers


@asynccontextmanager
async def open_client(webs: Sequence[Slot], token: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Token {token}"}
    async with httpx.AsyncClient(headers=headers, timeout=ANSWER_SECONDS, trust_env=False, verify=False) as http:
        yield Client(http, webs)
