"""Blobs on disk: flushed in the right order before their put returns; a failed put leaves nothing."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.errors import Unavailable
from broker.media.blobs import BLOBS_FOLDER, input_key, open_blobs, output_key

KEY = "out/workspace/batch/1/0/upscaled.jpg"


class Flushes:
    """What was flushed, in order: (path from the root or "draft", whether the blob stood under its name by then)."""

    def __init__(self, root: Path, key: str) -> None:
        self.root = root
        self.blob = root / key
        self.seen: list[tuple[str, bool]] = []
        self.flushed_bytes = -1
        self._fsync = os.fsync

    def fsync(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            name = next(str(path.relative_to(self.root)) for path in self._folders() if _same(path, status))
        else:
            name, self.flushed_bytes = "draft", status.st_size
        self.seen.append((name, self.blob.exists()))
        self._fsync(descriptor)

    def _folders(self) -> Iterator[Path]:
        yield self.root
        yield from (path for path in self.root.rglob("*") if path.is_dir())


def _same(path: Path, status: os.stat_result) -> bool:
    return os.path.samestat(path.stat(), status)


@contextmanager
def recorded(root: Path, key: str = KEY) -> Iterator[Flushes]:
    flushes = Flushes(root, key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", flushes.fsync)
        yield flushes


ORDER = [
    ("draft", False),
    ("out/workspace/batch/1/0", True),
    ("out/workspace/batch/1", True),
    ("out/workspace/batch", True),
    ("out/workspace", True),
    ("out", True),
    (".", True),
]


async def test_the_bytes_are_flushed_then_renamed_then_every_folder_is_flushed(tmp_path: Path) -> None:
    blobs = open_blobs("", tmp_path)
    with recorded(tmp_path / BLOBS_FOLDER) as flushes:
        await blobs.put(KEY, b"x" * 100_000)
    assert flushes.seen == ORDER
    assert flushes.flushed_bytes == 100_000


async def test_folders_that_another_writer_made_are_flushed_too(tmp_path: Path) -> None:
    # That writer may be between its mkdir and its flush.
    (tmp_path / BLOBS_FOLDER / KEY).parent.mkdir(parents=True)
    blobs = open_blobs("", tmp_path)
    with recorded(tmp_path / BLOBS_FOLDER) as flushes:
        await blobs.put(KEY, b"x")
    assert flushes.seen == ORDER


async def test_a_new_store_is_flushed_into_its_parent(tmp_path: Path) -> None:
    with recorded(tmp_path) as flushes:
        open_blobs("", tmp_path)
    assert [name for name, _ in flushes.seen] == ["."]


@pytest.mark.parametrize("problem", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
async def test_a_failed_flush_leaves_no_file(tmp_path: Path, problem: int) -> None:
    blobs = open_blobs("", tmp_path)

    def fail(_descriptor: int) -> None:
        raise OSError(problem, os.strerror(problem))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(Unavailable) as refusal:
            await blobs.put(KEY, b"x")
    assert refusal.value.retry_after
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    await blobs.put(KEY, b"x")
    assert await blobs.get(KEY) == b"x"


async def test_a_key_whose_folder_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    blobs = open_blobs("", tmp_path)
    (tmp_path / BLOBS_FOLDER / "out").write_bytes(b"a file in the way")
    with pytest.raises(Unavailable):
        await blobs.put(KEY, b"x")


async def test_a_put_leaves_the_blob_and_no_draft(tmp_path: Path) -> None:
    await open_blobs("", tmp_path).put(KEY, b"x")
    files = [path for path in (tmp_path / BLOBS_FOLDER).rglob("*") if path.is_file()]
    assert files == [tmp_path / BLOBS_FOLDER / KEY]


def test_keys_tell_whose_blob_it_is() -> None:
    assert input_key("w", "b", 3) == "in/w/b/3"
    assert output_key("w", "b", 7, 3, "a.jpg") == "out/w/b/7/3/a.jpg"


@pytest.mark.parametrize("name", ["a", "A-b_c.d.jpg", "0", "x" * 100])
def test_a_plain_file_name_is_a_name_for_an_output(name: str) -> None:
    assert output_key("w", "b", 1, 0, name).endswith(f"/{name}")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/a", "a\\b", ".hidden", "-a", "a b", "ä", "a\n", "a\x00", "a%2f", "x" * 101]
)
def test_a_name_that_could_lead_elsewhere_is_no_name_for_an_output(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        output_key("w", "b", 1, 0, name)
