"""The broker as its customers see it: an HTTP client for the commands that submit and follow batches."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from broker.cli.data_folder import TOKEN_FILE, URL_FILE
from broker.errors import BrokerError, Misconfigured
from broker.settings import load

ROOT = "/account/v2/request"


class Client:
    """Talks to BROKER_URL with BROKER_TOKEN, else to the broker that runs on the data folder."""

    def __init__(self, url: str, token: str) -> None:
        """Raises Misconfigured for a URL or a token that cannot be one."""
        if not token.isascii():
            raise Misconfigured("the token holds characters that no token has; see BROKER_TOKEN")
        self.url = url
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
        url, token = os.environ.get("BROKER_URL"), os.environ.get("BROKER_TOKEN")
        if url and not token:
            raise Misconfigured("BROKER_URL needs a BROKER_TOKEN; the data folder's token is for its own broker alone")
        url, token = url or _read(folder / URL_FILE), token or _read(folder / TOKEN_FILE)
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
        return await self._json("POST", ROOT, json=body)

    async def details(self, id: str, wait: float = 0) -> dict[str, Any]:
        """A batch; held until it is DONE, for `wait` seconds at most."""
        return await self._json("GET", f"{ROOT}/{id}", params={"wait": wait} if wait else {})

    async def newest(self, size: int) -> list[dict[str, Any]]:
        page = await self._json("GET", ROOT, params={"page_size": size})
        results: list[dict[str, Any]] = page["results"]
        return results

    async def download(self, url: str) -> bytes:
        """An output. Its link is signed, so no token goes there."""
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                return (await client.get(url)).raise_for_status().content
        except httpx.HTTPStatusError as error:
            raise BrokerError(f"an output picture was answered {error.response.status_code}") from error
        except httpx.TransportError as error:
            raise BrokerError(f"{self.url} cannot be reached") from error

    async def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            response = await self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise BrokerError(f"{self.url} cannot be reached") from error
        if response.is_error:
            raise BrokerError(f"{self.url} answered {response.status_code}: {response.text[:500]}")
        try:
            answer: dict[str, Any] = response.json()
        except ValueError as error:
            raise BrokerError(f"{self.url} is no broker: its answer is no JSON") from error
        return answer


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
