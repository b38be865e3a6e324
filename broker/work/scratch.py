"""Temporary files of a worker process: in one folder, locked while its owner lives, so that none is left for ever."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from broker.errors import Misconfigured

PREFIX = "broker-scratch-"

log = structlog.get_logger()


@contextmanager
def scratch_folder(place: Path) -> Iterator[Path]:
    """A folder in `place` for this process alone, removed at the end. Removes those of processes that were killed.

    The kernel lets go of a lock when its process ends, however that happens. Those who clean temporary folders by
    age leave a locked one alone (systemd.io, "Using /tmp/ and /var/tmp/ Safely"). Raises Misconfigured.
    """
    try:
        _remove_abandoned(place)
        folder, lock = _new_folder(place)
    except OSError as error:
        raise Misconfigured(
            f"no locked folder can be made in {place}; set TMPDIR to a folder on a local disk"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _new_folder(place: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        if (lock := _lock(folder)) is not None:
            return folder, lock


def _remove_abandoned(place: Path) -> None:
    for folder in place.glob(f"{PREFIX}*"):
        if not _is_mine(folder) or (lock := _lock(folder)) is None:
            continue
        log.info("scratch.removed", folder=str(folder))
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _is_mine(folder: Path) -> bool:
    """Whether this user made it; anybody may make a folder of that name in a shared temporary folder."""
    try:
        return folder.lstat().st_uid == os.geteuid() and folder.is_dir() and not folder.is_symlink()
    except FileNotFoundError:
        return False


def _lock(folder: Path) -> int | None:
    """The descriptor that holds a folder's lock; None when another process has it or removed the folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.lstat()  # between its making and its lock it looked abandoned
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
