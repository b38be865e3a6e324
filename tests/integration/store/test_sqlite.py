"""What only SQLite needs: its settings, the lock file, the write-ahead log, several processes on one file."""

from __future__ import annotations

import asyncio
import fcntl
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from broker.batches import new_id
from broker.errors import Misconfigured, Unavailable
from broker.store.batches import insert_batches
from broker.store.database import SQLITE_FILE, Database, open_database, open_session
from broker.store.log import LONGEST, Log
from broker.store.migrate import migrate
from broker.store.schema import check_migrated
from broker.store.sqlite import CHECKPOINT_PAGES, CHECKPOINT_PAUSE, INCREMENTAL, filesystem_of
from broker.store.workspaces import NewWorkspace, insert_workspaces
from broker.store.writer import MAX_WAITING_BYTES
from tests.integration.store.files import no_more_files
from tests.integration.store.log_file import log_frames, log_of, log_size
from tests.integration.store.rows import accept, new_batch, new_workspace, stored

HAMMER = Path(__file__).with_name("hammer.py")
PAGE = "x" * 100_000


async def start_hammer(
    url: str, workspace: str, groups: int, size: int, largest_file: int = 0, pause: float = 0
) -> asyncio.subprocess.Process:
    arguments = [str(HAMMER), url, workspace, *map(str, (groups, size, largest_file, pause))]
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


def told(output: bytes, word: str) -> set[str]:
    return {line.split()[1] for line in output.decode().splitlines() if line.split()[0] == word}


async def pragmas(sqlite: Database, *names: str) -> list[Any]:
    def read(connection: Connection, items: Sequence[tuple[str, ...]]) -> list[list[Any]]:
        return [[connection.scalar(text(f"PRAGMA {name}")) for name in item] for item in items]

    return await sqlite.writer.write(read, names)


async def test_the_writer_flushes_every_commit_and_leaves_checkpoints_to_the_lock(sqlite: Database) -> None:
    names = ("journal_mode", "synchronous", "wal_autocheckpoint", "foreign_keys")
    full = 2
    assert await pragmas(sqlite, *names) == ["wal", full, 0, 1]


async def test_to_open_a_file_that_is_there_writes_nothing(sqlite_url: str, tmp_path: Path, file: Path) -> None:
    first = open_database(sqlite_url, tmp_path)
    await migrate(first)
    await first.aclose()
    again = open_database(sqlite_url, tmp_path)
    assert await pragmas(again, "auto_vacuum") == [INCREMENTAL]
    assert log_size(file) == 0
    await again.aclose()


async def test_every_reader_sees_the_log_and_can_only_read(sqlite: Database) -> None:
    async with sqlite.reading() as one, sqlite.reading() as two:
        for connection in (one, two):
            assert await connection.scalar(text("PRAGMA journal_mode")) == "wal"
            assert await connection.scalar(text("PRAGMA query_only")) == 1


async def test_writers_wait_for_the_lock_file(sqlite: Database, file: Path, workspace: str) -> None:
    with file.with_name(file.name + ".lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write = asyncio.create_task(accept(sqlite, workspace))
        finished, _ = await asyncio.wait([write], timeout=0.3)
        assert not finished
        assert await stored(sqlite) == set()
    (id,) = await write
    assert await stored(sqlite) == {id}


async def test_the_lock_file_is_private(sqlite: Database, file: Path, workspace: str) -> None:
    assert file.with_name(file.name + ".lock").stat().st_mode & 0o777 == 0o600


@asynccontextmanager
async def stopped_with_the_lock(url: str, workspace: str, file: Path) -> AsyncIterator[None]:
    """Another process that writes, stopped at a moment when it holds the lock; it goes on at the end, and is ended."""
    hammer = await start_hammer(url, workspace, 100_000, 10_000)
    assert hammer.stdout is not None
    await hammer.stdout.readline()
    with file.with_name(file.name + ".lock").open() as lock:
        while True:
            hammer.send_signal(signal.SIGSTOP)
            await until_stopped(hammer.pid)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                break
            fcntl.flock(lock, fcntl.LOCK_UN)
            hammer.send_signal(signal.SIGCONT)
            await hammer.stdout.readline()
    yield
    hammer.send_signal(signal.SIGCONT)
    hammer.kill()
    await hammer.communicate()


async def until_stopped(pid: int) -> None:
    async with asyncio.timeout(30):
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            await asyncio.sleep(0)


async def test_writes_that_a_stopped_process_keeps_waiting_are_refused_and_never_done_later(
    sqlite: Database, sqlite_url: str, file: Path, workspace: str
) -> None:
    refused = [new_batch(workspace) for _ in range(4)]
    async with stopped_with_the_lock(sqlite_url, workspace, file):
        for some in (refused[:2], refused[2:]):  # the second two wait behind the first, whose turn never came
            outcomes = await asyncio.gather(
                *[sqlite.writer.write(insert_batches, batch) for batch in some], return_exceptions=True
            )
            assert [type(outcome) for outcome in outcomes] == [Unavailable] * 2
        await sqlite.ping()
    (mine,) = await accept(sqlite, workspace)
    assert mine in await stored(sqlite)
    assert not {batch.id for batch in refused} & await stored(sqlite)


async def test_however_much_was_refused_while_a_process_held_the_lock_the_next_is_taken(
    sqlite: Database, file: Path, workspace: str
) -> None:
    with file.with_name(file.name + ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        first = asyncio.create_task(accept(sqlite, workspace))
        await asyncio.sleep(0.1)
        behind = sqlite.writer.write(insert_batches, new_batch(workspace), weight=MAX_WAITING_BYTES + 1)
        outcomes = await asyncio.gather(first, behind, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Unavailable] * 2
    (mine,) = await accept(sqlite, workspace)
    assert await stored(sqlite) == {mine}


async def test_closing_does_not_wait_for_a_stopped_process(
    sqlite_url: str, tmp_path: Path, sqlite: Database, file: Path, workspace: str
) -> None:
    closing = open_database(sqlite_url, tmp_path)
    batch = new_batch(workspace)
    with file.with_name(file.name + ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write = asyncio.create_task(closing.writer.write(insert_batches, batch))
        await asyncio.sleep(0)
        await closing.aclose()
        with pytest.raises(Unavailable):
            await write
    await accept(sqlite, workspace)
    assert batch.id not in await stored(sqlite)


async def test_writers_in_several_processes_never_meet_a_locked_database(
    sqlite: Database, sqlite_url: str, file: Path, workspace: str
) -> None:
    groups, size = 200, 80_000
    hammers = [await start_hammer(sqlite_url, workspace, groups, size) for _ in range(3)]
    mine = [id for _ in range(100) for id in await accept(sqlite, workspace)]
    outputs = await asyncio.gather(*[hammer.communicate() for hammer in hammers])
    assert [(hammer.returncode, errors) for hammer, (_, errors) in zip(hammers, outputs, strict=True)] == [(0, b"")] * 3
    theirs = [told(output, "stored") for output, _ in outputs]
    assert [len(ids) for ids in theirs] == [groups] * 3
    assert await stored(sqlite) == {*mine, *set().union(*theirs)}
    # 48 MB went through the log; it began anew on the way.
    assert log_size(file) < groups * 3 * size / 2


async def test_a_killed_writer_blocks_nobody_and_loses_nothing_it_confirmed(
    sqlite: Database, sqlite_url: str, workspace: str
) -> None:
    hammer = await start_hammer(sqlite_url, workspace, 100_000, 10_000)
    assert hammer.stdout is not None
    seen = [await hammer.stdout.readline() for _ in range(50)]
    hammer.kill()
    rest, _ = await hammer.communicate()
    confirmed = told(b"".join(seen) + rest, "stored")
    assert len(confirmed) >= 50
    (mine,) = await accept(sqlite, workspace)
    assert {*confirmed, mine} <= await stored(sqlite)


async def test_the_log_begins_anew_once_it_is_long_in_a_file_that_keeps_its_length(
    sqlite: Database, file: Path, workspace: str
) -> None:
    """To flush what makes the file longer takes several times as long."""
    peak = 0
    for _ in range(150):
        await accept(sqlite, workspace, params=PAGE)
        peak = max(peak, log_frames(file))
    assert peak > CHECKPOINT_PAGES / 2
    await begin_anew(sqlite, file, workspace)
    assert file.stat().st_size > CHECKPOINT_PAGES * 4096
    length = log_size(file)
    assert length > CHECKPOINT_PAGES * 4096
    for _ in range(5):
        await accept(sqlite, workspace)
    assert (log_frames(file) > 5, log_size(file)) == (True, length)
    log = Log(log_of(file), lock=-1)
    assert (log.holds(log_frames(file)), log.holds(log_frames(file) + 1)) == (True, False)
    log.close()


async def test_a_long_reader_delays_the_log_s_end_only_as_long_as_it_reads_and_leaves_no_long_file(
    sqlite: Database, file: Path, workspace: str
) -> None:
    with closing(sqlite3.connect(file)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM batches").fetchone() == (0,)
        while log_size(file) < LONGEST + len(PAGE):
            await accept(sqlite, workspace, params=PAGE)
        assert reader.execute("SELECT count(*) FROM batches").fetchone() == (0,)
        assert log_frames(file) > 2 * CHECKPOINT_PAGES
    await begin_anew(sqlite, file, workspace)
    assert log_size(file) <= LONGEST


async def begin_anew(sqlite: Database, file: Path, workspace: str) -> None:
    """Write until the log is short again."""
    async with asyncio.timeout(60):
        while log_frames(file) >= CHECKPOINT_PAGES / 2:
            await accept(sqlite, workspace, params=PAGE)
            await asyncio.sleep(0.02)


async def test_a_full_disk_refuses_writes_and_a_freed_one_takes_them(sqlite: Database, workspace: str) -> None:
    await pragmas(sqlite, "max_page_count = 100")
    kept: set[str] = set()
    with pytest.raises(Unavailable):
        for _ in range(100):
            kept.update(await accept(sqlite, workspace, params=PAGE))
    with pytest.raises(Unavailable):
        await accept(sqlite, workspace, params=PAGE)
    assert await stored(sqlite) == kept
    await pragmas(sqlite, "max_page_count = 1000000")
    assert len(await accept(sqlite, workspace, 3, params=PAGE)) == 3


async def test_what_was_confirmed_is_stored_even_when_the_checkpoint_fails(
    sqlite: Database, sqlite_url: str, workspace: str
) -> None:
    # Neither file may outgrow 6 MB: first the checkpoint cannot move the log into the database, then the log is full.
    # A pause between groups gives checkpoints, which keep a distance in time, their turn before that.
    hammer = await start_hammer(sqlite_url, workspace, 10_000, 20_000, 6_000_000, 0.01)
    output, errors = await hammer.communicate()
    assert (hammer.returncode, errors) == (0, b"")
    confirmed, refused = told(output, "stored"), told(output, "refused")
    assert b"store.checkpoint_failed" in output
    assert len(refused) == 1
    assert await stored(sqlite) == confirmed


async def test_what_was_committed_is_confirmed_even_when_the_log_cannot_be_looked_at(tmp_path: Path) -> None:
    """Its folder was moved away meanwhile; files that are open go on."""
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    database = open_database("", folder)
    await migrate(database)
    workspace = await new_workspace(database)
    folder.rename(elsewhere)
    confirmed = await accept(database, workspace, 3)
    await database.aclose()
    database = open_database("", elsewhere)
    assert await stored(database) == set(confirmed)
    await database.aclose()


@pytest.mark.parametrize("how", [{}, {"brief": True, "flush": False}], ids=["thread", "event-loop"])
async def test_what_was_committed_is_confirmed_and_keeps_nobody_waiting_even_when_no_more_files_can_be_opened(
    sqlite: Database, sqlite_url: str, tmp_path: Path, workspace: str, how: dict[str, bool]
) -> None:
    session = open_session(sqlite_url, tmp_path)
    await session.transact(lambda _connection: [], flush=False)  # connects
    batch = new_batch(workspace)
    with no_more_files():
        assert len(await session.transact(partial(insert_batches, rows=[batch]), **how)) == 1
    (later,) = await accept(sqlite, workspace)
    assert await stored(sqlite) == {batch.id, later}
    await session.close()


async def test_what_was_committed_is_confirmed_even_when_the_lock_s_file_cannot_be_written(tmp_path: Path) -> None:
    """The disk is full, and the log goes on where it is: its file keeps its length."""
    lock = tmp_path / (SQLITE_FILE + ".lock")
    lock.symlink_to("/dev/full")
    database = open_database("", tmp_path)
    await migrate(database)
    workspace = await new_workspace(database)
    confirmed: list[str] = []
    while log_frames(tmp_path / SQLITE_FILE) < CHECKPOINT_PAGES or len(confirmed) < 50:
        confirmed += await accept(database, workspace, params=PAGE)
    for _ in range(5):
        await asyncio.sleep(CHECKPOINT_PAUSE)
        confirmed += await accept(database, workspace, params=PAGE)
    assert await stored(database) == set(confirmed)
    await database.aclose()


async def test_a_stranger_that_writes_without_the_lock_is_waited_for_while_the_event_loop_goes_on(
    sqlite: Database, file: Path, workspace: str
) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        write = asyncio.create_task(accept(sqlite, workspace))
        finished, _ = await asyncio.wait([write], timeout=0.3)  # a loop that waits in SQLite would not come back here
        assert not finished
        stranger.execute("ROLLBACK")
    (id,) = await write
    assert await stored(sqlite) == {id}


async def test_a_stranger_that_never_ends_is_an_outage_not_a_loss(sqlite: Database, file: Path, workspace: str) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            await accept(sqlite, workspace)
        stranger.execute("ROLLBACK")
    (id,) = await accept(sqlite, workspace)
    assert await stored(sqlite) == {id}


async def test_a_database_in_a_folder_with_an_odd_name(tmp_path: Path) -> None:
    folder = tmp_path / "a b?mode=ro&x#y%20z"
    database = open_database("", folder)
    await migrate(database)
    await check_migrated(database)
    await database.aclose()
    assert (folder / SQLITE_FILE).stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


async def test_the_log_is_gone_after_the_last_close(sqlite_url: str, tmp_path: Path, file: Path) -> None:
    database = open_database(sqlite_url, tmp_path)
    await database.writer.write(insert_workspaces, NewWorkspace(id=new_id(), name="a", secrets=b""))
    assert log_size(file) > 0
    await database.aclose()
    assert log_size(file) == 0
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM workspaces").fetchone() == (1,)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/db", "not a url", "postgres"])
async def test_a_url_that_is_no_database_of_ours_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(Misconfigured, match="BROKER_DATABASE_URL"):
        open_database(url, tmp_path)


MOUNTS = """\
/dev/vda / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
server:/export /srv/shared nfs4 rw,vers=4.2 0 0
/dev/vdb /srv/shared/local ext4 rw 0 0
//nas/pictures /mnt/my\\040pictures cifs rw 0 0
tmpfs /srv tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib/broker", "ext4"),
        ("/srv/shared", "nfs4"),
        ("/srv/shared/deep/er", "nfs4"),
        ("/srv/shared/local/data", "ext4"),
        ("/srv/sharedother", "tmpfs"),
        ("/mnt/my pictures/x", "cifs"),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_the_nearest_mount(folder: str, kind: str) -> None:
    assert filesystem_of(Path(folder), MOUNTS) == kind


def test_a_later_mount_on_the_same_point_hides_the_earlier() -> None:
    assert filesystem_of(Path("/srv/shared"), MOUNTS + "/dev/vdc /srv/shared xfs rw 0 0\n") == "xfs"


def test_a_system_that_lists_no_mounts_knows_no_file_system() -> None:
    assert filesystem_of(Path("/data"), "") is None
