"""Temporary files: of living workers nobody's, of killed ones removed by the next that starts."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from broker.errors import Misconfigured
from broker.work.scratch import PREFIX, scratch_folder

HOLD = """
import sys
from pathlib import Path
from broker.work.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "record").mkdir()
    (folder / "record" / "made.bin").write_bytes(b"half a picture")
    print(folder, flush=True)
    sys.stdin.read()
"""


@asynccontextmanager
async def another_process(place: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, Path]]:
    """A process with a scratch folder and a file in it, until its standard input ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD, str(place), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process, Path((await process.stdout.readline()).decode().strip())
    finally:
        await process.communicate(b"")


def folders(place: Path) -> list[Path]:
    return sorted(place.glob(f"{PREFIX}*"))


def test_the_folder_is_this_user_s_alone_and_gone_at_the_end(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "deep").mkdir()
        (folder / "deep" / "file").touch()
        assert folders(tmp_path) == [folder]
    assert folders(tmp_path) == []


async def test_a_killed_process_s_files_go_when_the_next_one_starts(tmp_path: Path) -> None:
    async with another_process(tmp_path) as (process, left):
        process.send_signal(signal.SIGKILL)
        await process.wait()
        assert (left / "record" / "made.bin").exists()
        with scratch_folder(tmp_path) as folder:
            assert folders(tmp_path) == [folder]


async def test_a_living_process_s_files_stay(tmp_path: Path) -> None:
    async with another_process(tmp_path) as (_, theirs):
        for _ in range(3):
            with scratch_folder(tmp_path) as folder:
                assert folders(tmp_path) == sorted([folder, theirs])
        assert (theirs / "record" / "made.bin").exists()
    assert folders(tmp_path) == []


async def test_a_frozen_process_s_files_stay(tmp_path: Path) -> None:
    async with another_process(tmp_path) as (process, theirs):
        process.send_signal(signal.SIGSTOP)
        with scratch_folder(tmp_path):
            assert (theirs / "record" / "made.bin").exists()
        process.send_signal(signal.SIGCONT)


async def test_processes_that_start_at_once_each_have_a_folder(tmp_path: Path) -> None:
    for _ in range(20):
        (tmp_path / f"{PREFIX}{os.urandom(4).hex()}").mkdir(mode=0o700)

    def hold(stack: ExitStack) -> Path:
        return stack.enter_context(scratch_folder(tmp_path))

    with ExitStack() as stack:
        mine = await asyncio.gather(*[asyncio.to_thread(hold, stack) for _ in range(12)])
        assert folders(tmp_path) == sorted(mine)
        assert len(set(mine)) == 12


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.symlink_to(path.parent / "precious"), id="a_link"),
        pytest.param(lambda path: path.write_bytes(b"x"), id="a_file"),
    ],
)
def test_what_is_not_a_folder_of_ours_stays(tmp_path: Path, make: Callable[[Path], object]) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (tmp_path / "broker-other").mkdir()
    make(tmp_path / f"{PREFIX}looks-like-one")
    before = sorted(tmp_path.iterdir())
    with scratch_folder(tmp_path):
        pass
    assert sorted(tmp_path.iterdir()) == before
    assert (precious / "file").exists()


def test_a_place_that_is_away_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="TMPDIR"), scratch_folder(tmp_path / "none"):
        pass
