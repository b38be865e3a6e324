"""Blobs on this machine's disk: written so that they outlive a power cut, removed with the folders that they leave.

A workspace's own folder stays when its last batch goes: another batch's put may be about to use it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.disk import flush_folder

MKDIR_TRIES = 50
_DRAFT = re.compile(r"\..+\.[0-9a-f]{16}")


def put_durably(root: Path, key: str, data: bytes) -> None:
    """Write beside, flush, rename, flush every folder from there up to `root`.

    A folder that is there already may be another writer's, made a moment ago and not flushed yet.
    """
    require(root)
    path = root / key
    _make_folder(path.parent)
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


def require(root: Path) -> None:
    """Raises NotADirectoryError when the folder of all blobs is away."""
    if not root.is_dir():
        raise NotADirectoryError("the blob folder is away; one made anew would hide that its disk is not mounted")


def remove_tree(root: Path, key: str) -> None:
    """Remove everything under a key; what is gone already is fine. Raises OSError when something stays."""
    require(root)
    folder = root / key
    if folder.is_dir():
        shutil.rmtree(folder, ignore_errors=True)  # others may be removing the same
    else:
        folder.unlink(missing_ok=True)
    if folder.exists():
        raise OSError(errno.ENOTEMPTY, "could not be removed", str(folder))


def remove_numbered(root: Path, key: str, through: int) -> None:
    """Remove the folders under a key that are numbered up to `through`, and the key's own when that leaves it empty."""
    require(root)
    folder = root / key
    for entry in list(_entries(folder)):
        if entry.name.isdecimal() and int(entry.name) <= through:
            remove_tree(root, f"{key}/{entry.name}")
    with _fine_if_gone():
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise


def walk_batches(root: Path, area: str) -> Iterator[str]:
    """The keys `<area>/<workspace>/<batch>`, as they lie there, and those of files that lie higher than they should."""
    require(root)
    for workspace in _entries(root / area):
        if not workspace.is_dir(follow_symlinks=False):
            yield f"{area}/{workspace.name}"
            continue
        for batch in _entries(Path(workspace)):
            yield f"{area}/{workspace.name}/{batch.name}"


def remove_drafts(root: Path, keys: Iterable[str], seconds: float) -> int:
    """Remove what puts under `keys` left behind that were cut off `seconds` ago; how many."""
    return sum(_remove_draft(entry, seconds) for key in keys for entry in _files(root / key))


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry))
        else:
            yield entry


def _remove_draft(entry: os.DirEntry[str], seconds: float) -> bool:
    if not _DRAFT.fullmatch(entry.name):
        return False
    with _fine_if_gone():
        if entry.stat(follow_symlinks=False).st_mtime < time.time() - seconds:
            Path(entry).unlink()
            return True
    return False


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, of which an emptied one may be removed meanwhile."""
    for _ in range(MKDIR_TRIES - 1):
        with _fine_if_gone():
            folder.mkdir(parents=True, exist_ok=True)
            return
    folder.mkdir(parents=True, exist_ok=True)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder, nothing when it is gone or none."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return


@contextmanager
def _fine_if_gone() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        return
