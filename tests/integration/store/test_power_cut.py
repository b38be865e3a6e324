"""What a power cut leaves of SQLite's log: all that was flushed, and the beginning of the rest."""

from __future__ import annotations

import shutil
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from broker.store.database import Database, open_database
from broker.store.ends import finish_batches
from tests.integration.store.log_file import FRAME_HEAD, HEAD, log_of
from tests.integration.store.rows import EXPIRED, accept, claim, delivery, finish, rescue, result, select

State = tuple[str, int, int, int]
WAITS: State = ("CREATED", 0, 0, 0)
RUNS: State = ("PROCESSING", 1, 0, 0)
IS_DONE: State = ("DONE", 1, 1, 1)


def cuts(log: bytes, flushed: int) -> Iterator[int]:
    """Lengths that a log may have had of which so much was flushed: up to each frame behind that, and amid each."""
    (page,) = struct.unpack(">I", log[8:12])
    frame = FRAME_HEAD + page
    assert (flushed - HEAD) % frame == (len(log) - HEAD) % frame == 0
    for end in range(flushed, len(log), frame):
        yield end
        yield end + frame // 2
    yield len(log)


@asynccontextmanager
async def after_a_power_cut(file: Path, length: int, folder: Path) -> AsyncIterator[Database]:
    """The database whose log was cut to `length`, opened anew as it would be after the start of the machine."""
    folder.mkdir()
    shutil.copy(file, folder)
    log_of(folder / file.name).write_bytes(log_of(file).read_bytes()[:length])
    database = open_database("", folder)
    yield database
    await database.aclose()


async def state(database: Database) -> State:
    """Of the only batch: its status and fencing number, how many results it has and how many webhooks it owes."""
    ((status, seq, results, owed),) = await select(
        database,
        "SELECT status, lease_seq, (SELECT count(*) FROM results), (SELECT count(*) FROM deliveries) FROM batches",
    )
    return status, seq, results, owed


async def test_a_claim_that_a_power_cut_undoes_is_made_again_by_the_same_number(
    sqlite: Database, workspace: str, file: Path, tmp_path: Path
) -> None:
    """It was not flushed (decision 0020). Whoever knew of it ended with the power."""
    await accept(sqlite, workspace)
    flushed = log_of(file).stat().st_size
    (lost,) = await claim(sqlite)
    assert log_of(file).stat().st_size > flushed
    async with after_a_power_cut(file, flushed, tmp_path / "anew") as database:
        assert await state(database) == WAITS
        (again,) = await claim(database)
        assert again.lease == lost.lease
        assert await database.writer.write(finish_batches, finish(again, result(), owed=delivery(again)))
        assert await state(database) == IS_DONE
        assert not await database.writer.write(finish_batches, finish(lost, result(), owed=delivery(lost)))
        assert await state(database) == IS_DONE


async def test_wherever_a_power_cut_ends_the_log_no_end_is_without_its_claim_and_the_batch_ends_once(
    sqlite: Database, workspace: str, file: Path, tmp_path: Path
) -> None:
    """The log is in the order of commits: the flush of an end flushes the claim before it."""
    await accept(sqlite, workspace)
    flushed = log_of(file).stat().st_size
    (claimed,) = await claim(sqlite, lease_ms=EXPIRED)
    assert await sqlite.writer.write(finish_batches, finish(claimed, result(), owed=delivery(claimed)))
    seen: list[State] = []
    for length in cuts(log_of(file).read_bytes(), flushed):
        async with after_a_power_cut(file, length, tmp_path / str(length)) as database:
            seen.append(await state(database))
            await end(database)
            status, _, results, owed = await state(database)
            assert (status, results, owed) == ("DONE", 1, 1)
    assert list(dict.fromkeys(seen)) == [WAITS, RUNS, IS_DONE]
    assert seen == sorted(seen, key=[WAITS, RUNS, IS_DONE].index)


async def end(database: Database) -> None:
    """Do what workers and the sweep would do after the start."""
    await rescue(database)
    for claimed in await claim(database):
        assert await database.writer.write(finish_batches, finish(claimed, result(), owed=delivery(claimed)))
