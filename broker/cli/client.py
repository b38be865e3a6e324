"""The broker as its customers see it: an HTTP client for the commands that submit and follow batches."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import typer

from broker.batches import new_id
from broker.cli.data_folder import TOKEN_FILE, URL_FILE
from broker.errors import BrokerError, Misconfigured, Unavailable
from broker.settings import load

ROOT = "/account/v2/request"
BATCHES = "/api/batches"
ENDPOINTS = "/api/endpoints"
DELIVERIES = "/api/deliveries"
REPEAT_SECONDS = 120.0
BULK_SECONDS = 600.0
MOST_TOLD = 500
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts no authority."""
_LATER = frozenset({429, 502, 503, 504})
_CUT_OFF = (httpx.ReadError, httpx.ReadTimeout, httpx.WriteError, httpx.WriteTimeout, httpx.RemoteProtocolError)
"""There was a connection: what was sent may have arrived."""


class Refused(BrokerError):
    """The broker said no; the message is why, in its own words."""

    def __init__(self, message: str, *, retryable: bool = False, retry_after: int | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.retryable = retryable


class Client:
    """Talks to BROKER_URL with BROKER_TOKEN, else to the broker that runs on the data folder."""

    def __init__(self, url: str, token: str) -> None:
        """Raises Misconfigured for a URL or a token that cannot be one."""
        if not token.isascii():
            raise Misconfigured("the token holds characters that no token has; see BROKER_TOKEN")
        self.url = url
        self._answered = False
        try:
            self._http = httpx.AsyncClient(
                base_url=url,
                headers={"Authorization": f"Token {token}"},
                timeout=httpx.Timeout(60, connect=10),
                trust_env=False,
            )
        except httpx.InvalidURL as error:
            raise Misconfigured(f"BROKER_URL {url} is no URL") from error

    @classmethod
    def of_environment(cls) -> Self:
        """Raises Misconfigured when there is nothing to talk to."""
        folder = load().data_dir
        token = os.environ.get("BROKER_TOKEN")
        if os.environ.get("BROKER_URL") and not token:
            raise Misconfigured("BROKER_URL needs a BROKER_TOKEN; the data folder's token is for its own broker alone")
        url, token = broker_url(folder), token or _read(folder / TOKEN_FILE)
        if not url or not token:
            raise Misconfigured(
                f"no broker runs on the data folder {folder}; start `broker up`, or set BROKER_URL and BROKER_TOKEN"
            )
        return cls(url.rstrip("/"), token)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def submit(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The accepted answer. A POST whose fate is not known is sent again, under one key, so that it is one batch."""
        return await self._repeated("POST", ROOT, json=body, headers={"Idempotency-Key": new_id()})

    async def details(self, id: str, wait: float = 0) -> dict[str, Any]:
        """A batch; held until it is DONE, for `wait` seconds at most."""
        with _naming(id):
            path = f"{ROOT}/{quote(id, safe='')}"
            return await self._repeated("GET", path, params={"wait": wait} if wait else {})

    async def newest(self, size: int) -> list[dict[str, Any]]:
        page = await self._repeated("GET", ROOT, params={"page_size": size})
        results: list[dict[str, Any]] = page["results"]
        return results

    async def batches(self, filters: Mapping[str, Any]) -> dict[str, Any]:
        """A page of the batches of all dialects."""
        return await self._repeated("GET", BATCHES, params=filters)

    async def batch(self, id: str) -> dict[str, Any]:
        """How a batch stands, whatever its dialect, with its finished records."""
        with _naming(id):
            return await self._repeated("GET", _path_of(BATCHES, id))

    async def act(self, id: str, verb: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Cancel, retry, pause or resume a batch; how it stands then."""
        with _naming(id):
            return await self._json("POST", f"{_path_of(BATCHES, id)}/{verb}", json=options)

    async def retry_many(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """How many batches run again, and how many cannot. The answer comes when all are queued."""
        return await self._json("POST", f"{BATCHES}/retry", json=options, timeout=BULK_SECONDS)

    async def delete(self, id: str) -> None:
        with _naming(id):
            await self._answer("DELETE", _path_of(BATCHES, id))

    async def endpoints(self, filters: Mapping[str, Any]) -> dict[str, Any]:
        """A page of webhook endpoints."""
        return await self._repeated("GET", ENDPOINTS, params=filters)

    async def endpoint(self, id: str) -> dict[str, Any]:
        """How healthy a webhook endpoint is."""
        with _naming(id):
            return await self._repeated("GET", _path_of(ENDPOINTS, id))

    async def enable(self, id: str) -> dict[str, Any]:
        """Let an endpoint be sent webhooks again; how it stands then."""
        with _naming(id):
            return await self._json("POST", f"{_path_of(ENDPOINTS, id)}/enable")

    async def test_webhook(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What came of one webhook, sent at once."""
        return await self._json("POST", "/api/webhook-test", json=body, timeout=BULK_SECONDS)

    async def deliveries(self, filters: Mapping[str, Any]) -> dict[str, Any]:
        """A page of deliveries."""
        return await self._repeated("GET", DELIVERIES, params=filters)

    async def delivery(self, id: str) -> dict[str, Any]:
        """How a delivery stands, with what it sends and its tries."""
        with _naming(id):
            return await self._repeated("GET", _path_of(DELIVERIES, id))

    async def replay(self, id: str) -> dict[str, Any]:
        """Send a delivery once more; how it stands then. Asked twice, it is sent once, or twice at the worst."""
        with _naming(id):
            return await self._json("POST", f"{_path_of(DELIVERIES, id)}/replay")

    async def replay_many(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """How many deliveries are sent again, and which are not. The answer comes when all are due."""
        return await self._json("POST", f"{DELIVERIES}/replay", json=options, timeout=BULK_SECONDS)

    async def download(self, url: str) -> bytes:
        """An output. Its link is signed, so no token goes there."""
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                return (await client.get(url)).raise_for_status().content
        except httpx.HTTPStatusError as error:
            raise BrokerError(f"an output picture was answered {error.response.status_code}") from error
        except httpx.TransportError as error:
            raise BrokerError(f"{self.url} cannot be reached") from error

    async def _repeated(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """What may be asked again is, while there is no answer or one that says "later", for REPEAT_SECONDS."""
        end = time.monotonic() + REPEAT_SECONDS
        pauses = chain(PAUSES, repeat(PAUSES[-1]))
        while True:
            try:
                return await self._json(method, path, **options)
            except BrokerError as error:
                pause = max(next(pauses), error.retry_after or 0)
                if not error.retryable or time.monotonic() + pause > end:
                    raise
                typer.echo(f"broker: {error.message}; again in {pause:g} s", err=True)
            await asyncio.sleep(pause)

    async def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        response = await self._answer(method, path, **options)
        try:
            answer: dict[str, Any] = response.json()
        except ValueError as error:
            raise BrokerError(f"{self.url} is no broker: its answer is no JSON") from error
        return answer

    async def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Raises a BrokerError that is `retryable` where another try may help."""
        try:
            response = await self._http.request(method, path, **options)
        except _CUT_OFF as error:
            raise Unavailable(f"{self.url} did not answer") from error
        except httpx.TransportError as error:
            # A broker that was there is waited for; where none ever was, the address is wrong.
            kind = Unavailable if self._answered else BrokerError
            raise kind(f"{self.url} cannot be reached") from error
        self._answered = True
        if response.is_error:
            raise _refusal(self.url, response)
        return response


async def is_ready(url: str) -> bool:
    """Whether a broker at this URL of plain HTTP says that it can serve.

    Asked again and again while a broker starts: reading the authorities that TLS trusts would take 50 ms of CPU each
    time.
    """
    try:
        async with httpx.AsyncClient(verify=NOBODY, trust_env=False, timeout=5) as client:
            return (await client.get(url + "/readyz")).status_code == 200
    except httpx.TransportError:
        return False


def _path_of(root: str, id: str) -> str:
    return f"{root}/{quote(id, safe='')}"


@contextmanager
def _naming(id: str) -> Iterator[None]:
    """A refusal that is raised in here names what it is about."""
    try:
        yield
    except Refused as error:
        raise Refused(f"{id}: {error.message}") from error


def _refusal(url: str, response: httpx.Response) -> Refused:
    """One line; who answered is said where that may not have been the broker, or will be asked again."""
    later = response.status_code in _LATER
    told = " ".join(_told(response).split())[:MOST_TOLD]
    if later or not told:
        told = f"{url} answered {response.status_code}: {told or response.reason_phrase}"
    return Refused(told, retryable=later, retry_after=_retry_after(response))


def _told(response: httpx.Response) -> str:
    """What the error's body says: its `detail`, or each field's messages; empty when it is no broker's."""
    try:
        told = response.json()
    except ValueError:
        return ""
    if not isinstance(told, dict):
        return ""
    return told["detail"] if isinstance(told.get("detail"), str) else "; ".join(_messages(told))


def _messages(told: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """`type: …`, `records.0._url: …`: each field with its messages, however deep it is."""
    for name, inner in told.items():
        if isinstance(inner, Mapping):
            yield from _messages(inner, f"{place}{name}.")
        else:
            yield f"{place}{name}: {' '.join(map(str, inner)) if isinstance(inner, list) else inner}"


def _retry_after(response: httpx.Response) -> int | None:
    """Seconds; None for a date, which no broker sends."""
    text = response.headers.get("Retry-After", "")
    return int(text) if text.isascii() and text.isdigit() else None


def broker_url(folder: Path) -> str:
    """BROKER_URL, else that of the broker that runs on the data folder; empty when there is neither."""
    return os.environ.get("BROKER_URL") or _read(folder / URL_FILE)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
