"""The object store of one installation: put, get, remove. On disk a blob is flushed before its put returns.

Keys: `in/<workspace>/<batch>/<record>` for inputs sent along, `out/<workspace>/<batch>/<lease_seq>/<record>/<name>`
for outputs. Both are written once.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from broker.disk import flush_folder
from broker.errors import Misconfigured, NotFound, Unavailable

if TYPE_CHECKING:
    from obstore.store import RetryConfig

BLOBS_FOLDER = "blobs"
# A store that stays away is reported soon: whoever waits for the answer has a client that waits too.
RETRIES: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=15)}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Blobs:
    """Put, get and remove whole blobs by key. Raises Unavailable when the store cannot."""

    def __init__(self, store: ObjectStore, folder: Path | None) -> None:
        self._store = store
        self._folder = folder

    @property
    def folder(self) -> Path | None:
        """Where blobs lie when they lie on this machine's disk."""
        return self._folder

    async def put(self, key: str, data: bytes) -> None:
        """Store a blob; it is durable when this returns."""
        try:
            if self._folder is None:
                await obstore.put_async(self._store, key, data)
            else:
                await asyncio.to_thread(_put_durably, self._folder, key, data)
        except (OSError, BaseError) as error:
            raise Unavailable(retry_after=5) from error

    async def get(self, key: str) -> bytes:
        """A blob's bytes. Raises NotFound when there is none, which a folder that is away does not tell."""
        try:
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
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return
        except (OSError, BaseError) as error:
            raise Unavailable(retry_after=5) from error

    async def ping(self) -> None:
        """Raises Unavailable unless the store answers, and its bucket is there or its folder can be written."""
        if self._folder is not None and not os.access(self._folder, os.W_OK | os.X_OK):
            raise Unavailable(retry_after=5)
        try:
            await obstore.list_with_delimiter_async(self._store, "ping")
        except (OSError, BaseError) as error:
            raise Unavailable(retry_after=5) from error


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
    return f"in/{workspace}/{batch}/{position}"


def output_key(workspace: str, batch: str, lease_seq: int, position: int, name: str) -> str:
    """Where a handler's output lies. Raises ValueError for a name that is no plain file name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"an output's name must match {_NAME.pattern}, not {name!r}")
    return f"out/{workspace}/{batch}/{lease_seq}/{position}/{name}"


def _put_durably(root: Path, key: str, data: bytes) -> None:
    """Write beside, flush, rename, flush every folder from there up to `root`.

    A folder that is there already may be another writer's, made a moment ago and not flushed yet.
    """
    if not root.is_dir():
        raise NotADirectoryError("the blob folder is away; one made anew would hide that its disk is not mounted")
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    for folder in path.parents[: len(path.relative_to(root).parts)]:
        flush_folder(folder)
