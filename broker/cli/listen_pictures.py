"""Saving the pictures that a webhook's result names, under names that stay in their folder."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import httpx

from broker.cli.listen_screen import links_of, plain, records_of, scalar
from broker.origins import origin_of

MAX_PICTURES = 100
MAX_BYTES = 256 * 1024 * 1024
SECONDS = 60.0
REDIRECTS = 5

_STRANGE = "the signature is not checked, and this is not on the broker's own URL, as BROKER_URL says it"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class NotSaved(Exception):
    """Why a picture was not; one line."""


@dataclass(slots=True)
class Pictures:
    """Saves into `folder` while it is entered.

    own: the broker's origin, "" for an unknown one. max_bytes: of one picture; seconds: for all of one.
    """

    folder: Path
    own: str = ""
    max_bytes: int = MAX_BYTES
    seconds: float = SECONDS
    _http: httpx.AsyncClient = field(init=False)

    async def __aenter__(self) -> Self:
        self._http = httpx.AsyncClient(
            headers={"Accept-Encoding": "identity"},
            follow_redirects=True,
            max_redirects=REDIRECTS,
            trust_env=False,
            timeout=self.seconds,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def save(self, event: Any, *, anywhere: bool) -> AsyncIterator[str]:
        """A line for each picture, saved or not; the same result again is saved under the same names.

        anywhere: wherever it lies, and not on the broker alone; whoever sent this is known, then.
        """
        id = scalar(event.get("id")) if isinstance(event, dict) else ""
        links = [(number, link) for number, record in enumerate(records_of(event), 1) for _, link in links_of(record)]
        for place, (number, link) in enumerate(links[:MAX_PICTURES], 1):
            path = self.folder / safe_name(id, number, place, link)
            try:
                if not anywhere and not self._is_own(link):
                    raise NotSaved(_STRANGE)
                await self._save(link, path)
            except NotSaved as reason:
                yield f"not saved: {plain(link)}: {reason}"
            else:
                yield f"saved {path}"
        if len(links) > MAX_PICTURES:
            yield f"not saved: {len(links) - MAX_PICTURES} more than {MAX_PICTURES} pictures"

    def _is_own(self, link: str) -> bool:
        try:
            return origin_of(link) == self.own
        except (httpx.InvalidURL, UnicodeError, KeyError):  # no URL, or of another scheme
            return False

    async def _save(self, link: str, path: Path) -> None:
        try:
            async with asyncio.timeout(self.seconds):
                await self._download(link, path)
        except TimeoutError as error:
            raise NotSaved(f"not within {self.seconds:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise NotSaved(plain(str(error)) or type(error).__name__) from error
        except OSError as error:
            raise NotSaved(f"the file cannot be written: {error.strerror}") from error

    async def _download(self, link: str, path: Path) -> None:
        unfinished = path.with_name(path.name + ".part")
        async with self._http.stream("GET", link) as answer:
            self._check(answer)
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with unfinished.open("wb") as file:
                    async for part in answer.aiter_raw():
                        if file.tell() + len(part) > self.max_bytes:
                            raise NotSaved(f"larger than {self.max_bytes} bytes")
                        file.write(part)
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)

    def _check(self, answer: httpx.Response) -> None:
        if answer.status_code != 200:
            raise NotSaved(f"answered {answer.status_code}")
        media_type = answer.headers.get("content-type", "")
        if not media_type.lower().startswith("image/"):
            raise NotSaved(f"no picture but {plain(media_type) or 'of no content type'}")
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise NotSaved("compressed, though that was not asked for")
        declared = answer.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared) > self.max_bytes:
            raise NotSaved(f"larger than {self.max_bytes} bytes")


def safe_name(id: str, record: int, place: int, link: str) -> str:
    """`<batch>-<record>-<place>-<name>`, of letters, digits, `.`, `_` and `-`, whatever the webhook says."""
    try:
        name = Path(unquote(urlsplit(link).path)).name
    except ValueError:
        name = ""
    return f"{_safe(id, 'batch')}-{record}-{place}-{_safe(name, 'picture')}"


def _safe(text: str, otherwise: str) -> str:
    return _UNSAFE.sub("_", text)[-80:].lstrip(".") or otherwise
