"""The object store of one installation: put, get, remove. On disk a blob is flushed before its put returns.

Keys: `in/<workspace>/<batch>/<record>` for inputs sent along, `out/<workspace>/<batch>/<lease_seq>/<record>/<name>`
for outputs. Both are written once.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from broker.disk import flush_folder
from broker.errors import Misconfigured, NotFound, Unavailable
from broker.media.folder import put_durably, remove_drafts, remove_numbered, remove_tree, walk_batches
from broker.media.reads import FolderReads
from broker.threads import in_thread

if TYPE_CHECKING:
    from obstore.store import RetryConfig

BLOBS_FOLDER = "blobs"
# A store that stays away is reported soon: whoever waits for the answer has a client that waits too.
RETRIES: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=15)}
INPUTS, OUTPUTS = "in", "out"
PAGE = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Blobs:
    """Put, get and remove whole blobs by key. Raises Unavailable when the store cannot."""

    def __init__(self, store: ObjectStore, folder: Path | None) -> None:
        self._store = store
        self._folder = folder
        self._reads = FolderReads(folder) if folder is not None else None

    @property
    def folder(self) -> Path | None:
        """Where blobs lie when they lie on this machine's disk."""
        return self._folder

    async def put(self, key: str, data: bytes) -> None:
        """Store a blob; it is durable when this returns."""
        with _unavailable():
            if self._folder is None:
                await obstore.put_async(self._store, key, data)
            else:
                await in_thread(put_durably, self._folder, key, data)

    async def get(self, key: str) -> bytes:
        """A blob's bytes. Raises NotFound when there is none, which a folder that is away does not tell."""
        try:
            if self._reads is not None:
                return await self._reads.get(key)
            found = await obstore.get_async(self._store, key)
            return bytes(await found.bytes_async())
        except FileNotFoundError as error:
            if self._folder is not None and not self._folder.is_dir():
                raise Unavailable(retry_after=5) from error
            raise NotFound() from error
        except (OSError, BaseError) as error:
            raise Unavailable(retry_after=5) from error

    async def remove(self, key: str) -> None:
        """Remove a blob; one that is gone already is fine."""
        with _unavailable(), suppress(FileNotFoundError):
            await obstore.delete_async(self._store, key)

    async def remove_inputs(self, workspace: str, batch: str) -> None:
        """Remove the pictures that were sent along with a batch; none is fine."""
        await self._remove_under(f"{INPUTS}/{workspace}/{batch}")

    async def remove_outputs(self, workspace: str, batch: str, through: int) -> None:
        """Remove what a batch's claims up to number `through` made; a later claim's may be a new run's."""
        under = f"{OUTPUTS}/{workspace}/{batch}"
        if self._folder is None:
            await self._remove_listed(under, through)
            return
        with _unavailable():
            await in_thread(remove_numbered, self._folder, under, through)

    async def remove_batch(self, workspace: str, batch: str) -> None:
        """Remove everything of a batch, whose row is gone; nothing is fine."""
        await self.remove_inputs(workspace, batch)
        await self._remove_under(f"{OUTPUTS}/{workspace}/{batch}")

    async def remove_drafts(self, keys: Sequence[str], seconds: float) -> int:
        """Remove what puts under these keys left behind that were cut off `seconds` ago; only a disk has any."""
        if self._folder is None:
            return 0
        with _unavailable():
            return await in_thread(remove_drafts, self._folder, keys, seconds)

    async def batch_keys(self) -> AsyncIterator[Sequence[str]]:
        """All keys up to their batch, `<area>/<workspace>/<batch>`, in pages; shorter ones as they are."""
        for area in (INPUTS, OUTPUTS):
            with _unavailable():
                async for page in self._listed(area) if self._folder is None else _walked(self._folder, area):
                    yield page

    async def _listed(self, area: str) -> AsyncIterator[Sequence[str]]:
        last = ""
        async for page in obstore.list(self._store, area, chunk_size=PAGE):
            keys = dict.fromkeys("/".join(found["path"].split("/", 3)[:3]) for found in page)
            keys.pop(last, None)
            if keys:
                yield list(keys)
                last = next(reversed(keys))

    async def _remove_under(self, key: str) -> None:
        if self._folder is None:
            await self._remove_listed(key, None)
            return
        with _unavailable():
            await in_thread(remove_tree, self._folder, key)

    async def _remove_listed(self, under: str, through: int | None) -> None:
        with _unavailable():
            async for page in obstore.list(self._store, under, chunk_size=PAGE):
                keys = [found["path"] for found in page if through is None or _claim_of(found["path"]) <= through]
                await self._remove_all(keys)

    async def _remove_all(self, keys: list[str]) -> None:
        """In one request where the store can; one by one when another process removes the same."""
        if not keys:
            return
        try:
            await obstore.delete_async(self._store, keys)
        except FileNotFoundError:
            for key in keys:
                await self.remove(key)

    async def ping(self) -> None:
        """Raises Unavailable unless the store answers, and its bucket is there or its folder can be written."""
        if self._folder is not None and not os.access(self._folder, os.W_OK | os.X_OK):
            raise Unavailable(retry_after=5)
        with _unavailable():
            await obstore.list_with_delimiter_async(self._store, "ping")


def open_blobs(url: str, data_dir: Path) -> Blobs:
    """The store at `url` (file, s3, gs, az), or the folder `blobs` of the data folder when it is empty."""
    if not url or url.startswith("file://"):
        folder = Path(url.removeprefix("file://")) if url else data_dir / BLOBS_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        flush_folder(folder.parent)
        return Blobs(LocalStore(folder), folder)
    try:
        return Blobs(from_url(url, retry_config=RETRIES), None)
    except (BaseError, ValueError) as error:
        raise Misconfigured("BROKER_BLOBS_URL is not a usable store") from error


def input_key(workspace: str, batch: str, position: int) -> str:
    """Where a picture that was sent along lies."""
    return f"{INPUTS}/{workspace}/{batch}/{position}"


def output_key(workspace: str, batch: str, lease_seq: int, position: int, name: str) -> str:
    """Where a handler's output lies. Raises ValueError for a name that is no plain file name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"an output's name must match {_NAME.pattern}, not {name!r}")
    return f"{OUTPUTS}/{workspace}/{batch}/{lease_seq}/{position}/{name}"


async def _walked(folder: Path, area: str) -> AsyncIterator[Sequence[str]]:
    walk = walk_batches(folder, area)
    while page := await in_thread(lambda: list(islice(walk, PAGE))):
        yield page


def _claim_of(key: str) -> int:
    """The `lease_seq` in an output's key; -1 for a key that has none."""
    parts = key.split("/")
    return int(parts[3]) if len(parts) > 4 and parts[3].isdecimal() else -1


@contextmanager
def _unavailable() -> Iterator[None]:
    """What a store or a disk refuses may pass."""
    try:
        yield
    except (OSError, BaseError) as error:
        raise Unavailable(retry_after=5) from error
