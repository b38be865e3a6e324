"""Reads of blobs that share the turns of a few threads: each gets its own file, or its own failure."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from broker.media.reads import LARGE, SMALL, TURNS, FolderReads

PATIENCE = 20.0
SIZES = (0, 1, SMALL - 1, SMALL, SMALL + 1, LARGE, 2 * LARGE)


async def test_everybody_gets_their_own_file_however_large(tmp_path: Path) -> None:
    files = {f"{place}": os.urandom(size) for place, size in enumerate(SIZES * 2)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    reads = FolderReads(tmp_path)
    assert await asyncio.gather(*map(reads.get, files)) == list(files.values())


async def test_a_file_that_is_missing_fails_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"there")
    reads = FolderReads(tmp_path)
    async with asyncio.timeout(PATIENCE):
        found = await asyncio.gather(*map(reads.get, ["missing", "there", "missing"]), return_exceptions=True)
    assert [type(one) for one in found] == [FileNotFoundError, bytes, FileNotFoundError]


async def test_a_file_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hangs")  # to open it waits for a writer
    (tmp_path / "there").write_bytes(b"there")
    reads = FolderReads(tmp_path)
    hanging = [asyncio.create_task(reads.get("hangs")) for _ in range(TURNS - 1)]
    try:
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):
                assert await reads.get("there") == b"there"
    finally:
        os.close(os.open(tmp_path / "hangs", os.O_WRONLY))
    assert await asyncio.gather(*hanging) == [b""] * len(hanging)


async def test_a_reader_that_was_cancelled_fails_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"there")
    reads = FolderReads(tmp_path)
    first, second = (asyncio.create_task(reads.get("there")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(PATIENCE):
        assert await second == b"there"
    with pytest.raises(asyncio.CancelledError):
        await first
