"""Downloads of input images: from a customer's URL to the bytes of one file, or to an answer that says why not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import httpx

from broker.errors import AddressRefused, Invalid
from broker.net.body import CODINGS, DamagedBody, inflate, read_up_to
from broker.net.connect import Resolver, system_resolver
from broker.net.guard import guarded_client
from broker.net.urls import parse_url
from broker.threads import in_thread
from handlers.contract import RecordError

if TYPE_CHECKING:
    import ssl

    from broker.net.addresses import Policy

TRIES = 3
MAX_REDIRECTS = 5
CONCURRENCY = 32
_WHY = "The image could not be downloaded"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Fetcher:
    """Downloads images for a whole process, 32 at a time, over one client.

    max_bytes: largest file, before and after decompression. timeout: seconds one try may take, with its redirects and
    body. pause: seconds before the second try; doubled before the third.

    What ends in a RecordError, and its code:
    400 the URL or a redirect is malformed, redirects go in a circle or on for too long, the answer is empty or broken;
    403 the URL or a redirect leads to an address that is not allowed; 4xx the origin's own answer (but 429);
    413 the file is too large; 415 its content coding is unknown; 502 three tries met errors of connection, timeouts,
    429 or 5xx.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        max_bytes: int,
        timeout: float,
        pause: float,
        resolver: Resolver = system_resolver,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._client = guarded_client(policy, resolver=resolver, ssl_context=ssl_context)
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._pause = pause
        self._slots = asyncio.Semaphore(CONCURRENCY)

    async def fetch(self, url: str) -> bytes:
        """The file at `url`, not empty; whether it is an image is for others to say. Raises RecordError."""
        failure = ""
        for tried in range(TRIES):
            if tried:
                await asyncio.sleep(self._pause * 2 ** (tried - 1))
            try:
                return await self._try(url)
            except _Transient as transient:
                failure = str(transient)
        raise RecordError(502, f"{_WHY}: {failure}.")

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _try(self, url: str) -> bytes:
        try:
            async with self._slots, asyncio.timeout(self._timeout):
                return await self._follow(_target(url))
        except AddressRefused as refused:
            raise RecordError(403, f"{_WHY}: {refused.message}.") from None
        except httpx.PoolTimeout:
            raise _Transient("the broker was too busy to look its server up") from None
        except (TimeoutError, httpx.TimeoutException):
            raise _Transient("its server took too long") from None
        except httpx.ConnectError:
            raise _Transient("its server cannot be reached") from None
        except httpx.TransportError:
            raise _Transient("its server broke off the connection") from None

    async def _follow(self, url: httpx.URL) -> bytes:
        seen = {url}
        for _ in range(MAX_REDIRECTS + 1):
            async with self._client.stream("GET", url) as response:
                if response.status_code not in _REDIRECTS:
                    return await self._read(response)
                url = _next(response)
            if url in seen:
                raise RecordError(400, f"{_WHY}: its redirects go in a circle.")
            seen.add(url)
        raise RecordError(400, f"{_WHY}: more than {MAX_REDIRECTS} redirects.")

    async def _read(self, response: httpx.Response) -> bytes:
        _check_status(response.status_code)
        coding = response.headers.get("content-encoding", "identity").strip().lower() or "identity"
        if coding != "identity" and coding not in CODINGS:
            raise RecordError(415, f"{_WHY}: its server sends an unknown content encoding.")
        if int(response.headers.get("content-length", 0)) > self._max_bytes:
            raise self._too_large()
        body = await read_up_to(response, self._max_bytes + 1)
        if coding != "identity" and 0 < len(body) <= self._max_bytes:
            body = await self._inflate(body, coding)
        if len(body) > self._max_bytes:
            raise self._too_large()
        if not body:
            raise RecordError(400, f"{_WHY}: the file is empty.")
        return body

    async def _inflate(self, body: bytes, coding: str) -> bytes:
        try:
            return await in_thread(inflate, body, coding, self._max_bytes + 1)
        except DamagedBody:
            raise RecordError(400, f"{_WHY}: its compression is damaged.") from None

    def _too_large(self) -> RecordError:
        return RecordError(413, f"The image file is larger than {self._max_bytes} bytes.")


class _Transient(Exception):
    """A failure that another try may not meet; its text ends a sentence for the customer."""


def _target(url: str) -> httpx.URL:
    try:
        return parse_url(url)
    except Invalid as invalid:
        raise RecordError(400, f"{_WHY}. {invalid.message}") from None


def _next(response: httpx.Response) -> httpx.URL:
    location = response.headers.get("location", "").strip()
    if not location:
        raise RecordError(400, f"{_WHY}: HTTP {response.status_code} without a target.")
    try:
        # Browsers take a Location with spaces, so servers send them.
        joined = urljoin(str(response.url), location.replace(" ", "%20"))
    except ValueError:
        raise RecordError(400, f"{_WHY}: HTTP {response.status_code} with a malformed target.") from None
    return _target(joined)


def _check_status(status: int) -> None:
    if 200 <= status < 300:
        return
    answered = f"its server answered HTTP {status}"
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
        raise _Transient(answered)
    raise RecordError(max(status, 400), f"{_WHY}: {answered}.")
