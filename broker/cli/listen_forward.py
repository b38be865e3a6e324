"""Sending a webhook on as it came, and the answer back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx
from starlette.responses import Response

from broker.net.body import read_up_to

SECONDS = 60.0
MAX_ANSWER = 32 * 1024 * 1024

Header = tuple[bytes, bytes]
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade expect".split()
)
_MADE_ANEW = frozenset({b"host", b"content-length", b"date"})


@dataclass(slots=True)
class Forward:
    """Sends to `url` while it is entered."""

    url: str
    _http: httpx.AsyncClient = field(init=False)

    async def __aenter__(self) -> Self:
        self._http = httpx.AsyncClient(trust_env=False, timeout=SECONDS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def send(self, method: str, headers: Iterable[Header], body: bytes) -> tuple[Response, str]:
        """The other server's answer, or a 502 or 504 in its place; and a line that says which."""
        request = httpx.Request(method, self.url, headers=end_to_end(headers), content=body)
        try:
            async with asyncio.timeout(SECONDS):
                return await self._exchange(request)
        except TimeoutError:
            return Response(status_code=504), f"forwarded; no answer within {SECONDS:g} s"
        except httpx.HTTPError as error:
            return Response(status_code=502), f"not forwarded: {str(error) or type(error).__name__}"

    async def _exchange(self, request: httpx.Request) -> tuple[Response, str]:
        theirs = await self._http.send(request, stream=True)
        try:
            body = await read_up_to(theirs, MAX_ANSWER + 1)
        finally:
            await theirs.aclose()
        if len(body) > MAX_ANSWER:
            return Response(status_code=502), "forwarded; the answer is too large"
        answer = Response(body, theirs.status_code)
        answer.raw_headers.extend((name.lower(), value) for name, value in end_to_end(theirs.headers.raw))
        return answer, "forwarded"


def end_to_end(headers: Iterable[Header]) -> list[Header]:
    """All but those of one connection (RFC 9110 7.6.1), and those that each connection's own end makes."""
    given = list(headers)
    named = {
        option.strip().lower() for name, value in given if name.lower() == b"connection" for option in value.split(b",")
    }
    dropped = _HOP_BY_HOP | _MADE_ANEW | named
    return [(name, value) for name, value in given if name.lower() not in dropped]
