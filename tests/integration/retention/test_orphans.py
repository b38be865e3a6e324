"""The search for orphans: finds what belongs to no batch, and never touches what a batch needs or will need."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from broker.batches import Record
from broker.errors import Unavailable
from broker.media.blobs import Blobs, input_key, open_blobs, output_key
from broker.store.batches import insert_batches
from broker.store.database import Database, open_database
from broker.store.rows import dump_records
from broker.work.orphans import MAX_FAILURES, Orphans
from tests.integration.store.ended import DAY, HOUR, MINUTE, ended, id_from, run_again
from tests.integration.store.rows import accept, execute, new_batch
from tests.integration.stores import there


async def put(blobs: Blobs, *keys: str) -> None:
    for key in keys:
        await blobs.put(key, b"picture")


def keys_of(workspace: str, batch: str) -> tuple[str, str]:
    return input_key(workspace, batch, 0), output_key(workspace, batch, 1, 0, "a.jpg")


async def test_blobs_of_an_unknown_batch_go_after_an_hour(database: Database, workspace_id: str, blobs: Blobs) -> None:
    old, young, early = (keys_of(workspace_id, id_from(ago)) for ago in (61 * MINUTE, 59 * MINUTE, -DAY))
    other = keys_of(id_from(DAY), id_from(DAY))
    await put(blobs, *old, *young, *early, *other)
    assert await Orphans(database, blobs).search() == 2
    assert await there(blobs, *old, *young, *early, *other) == [*young, *early]


async def test_blobs_of_a_known_batch_stay_whatever_its_state(
    database: Database, workspace_id: str, blobs: Blobs
) -> None:
    done, again = await ended(database, workspace_id, 2, ago_ms=20 * DAY)
    await run_again(database, again)
    ids = [done, again, *(id_from(ago) for ago in (DAY, 2 * DAY))]
    for id in ids[2:]:
        await accept(database, workspace_id, id=id)
    await execute(database, "UPDATE batches SET status = 'PAUSED' WHERE id = :id", id=ids[2])
    keys = [key for id in ids for key in keys_of(workspace_id, id)]
    await put(blobs, *keys)
    assert await Orphans(database, blobs).search() == 0
    assert await there(blobs, *keys) == keys


async def test_expired_pictures_whose_removal_was_cut_off_go(
    database: Database, workspace_id: str, blobs: Blobs
) -> None:
    ids = await ended(database, workspace_id, 3, ago_ms=5 * DAY)
    keys = [keys_of(workspace_id, id) for id in ids]
    newer = output_key(workspace_id, ids[1], 2, 0, "a.jpg")
    await put(blobs, *sum(keys, ()), newer)
    for kind, id in (("inputs", ids[0]), ("outputs", ids[1])):
        await execute(database, f"UPDATE batches SET {kind}_expired = finished + 1 WHERE id = :id", id=id)
    # What an earlier run's outputs were marked with says nothing of the outputs that came after it.
    await execute(database, "UPDATE batches SET outputs_expired = finished - 1 WHERE id = :id", id=ids[2])
    assert await Orphans(database, blobs).search() == 2
    assert await there(blobs, *sum(keys, ()), newer) == [keys[0][1], keys[1][0], *keys[2], newer]


async def test_a_batch_that_runs_again_loses_nothing(database: Database, workspace_id: str, blobs: Blobs) -> None:
    (id,) = await ended(database, workspace_id, ago_ms=5 * DAY)
    await execute(database, "UPDATE batches SET inputs_expired = finished + 1, outputs_expired = finished + 1")
    await run_again(database, id)
    keys = keys_of(workspace_id, id)
    await put(blobs, *keys)
    assert await Orphans(database, blobs).search() == 0
    assert await there(blobs, *keys) == list(keys)


async def test_a_post_whose_row_is_not_stored_yet_loses_nothing(
    database: Database, database_url: str, workspace_id: str, blobs: Blobs, tmp_path: Path
) -> None:
    other = open_database(database_url, tmp_path)
    searching = True

    async def search() -> int:
        removed = 0
        while searching:
            removed += await Orphans(other, blobs).search()
        return removed

    task = asyncio.create_task(search())
    keys = []
    try:
        for _ in range(20):
            batch = new_batch(workspace_id)
            key = input_key(workspace_id, batch.id, 0)
            await blobs.put(key, b"picture")
            await asyncio.sleep(0.02)
            await database.writer.write(insert_batches, batch)
            keys.append(key)
    finally:
        searching = False
        assert await task == 0
        await other.aclose()
    assert await there(blobs, *keys) == keys


async def test_what_is_no_key_of_ours_stays_and_is_told(database: Database, workspace_id: str, blobs: Blobs) -> None:
    old = id_from(DAY)
    version_4 = old[:14] + "4" + old[15:]
    strange = [
        "in/readme.txt",
        f"in/{workspace_id}/notes/0",
        f"out/{workspace_id}/{version_4}/1/0/a.jpg",
        "other/x/y/z",
    ]
    gone = keys_of(workspace_id, old)
    await put(blobs, *strange, *gone)
    with capture_logs() as logs:
        assert await Orphans(database, blobs).search() == 1
    assert await there(blobs, *strange, *gone) == strange
    told = [line for line in logs if line["event"] == "orphans.strange_keys"]
    assert sum(line["count"] for line in told) == 3
    assert {line["one"] for line in told} <= {
        "in/readme.txt",
        f"in/{workspace_id}/notes",
        f"out/{workspace_id}/{version_4}",
    }


async def test_more_than_a_page_of_orphans_goes(database: Database, workspace_id: str, tmp_path: Path) -> None:
    for blobs in (open_blobs("", tmp_path), open_blobs("memory://", tmp_path)):
        ids = [id_from(DAY + place) for place in range(1200)]
        if blobs.folder is not None:
            for id in ids:
                (blobs.folder / "in" / workspace_id / id).mkdir(parents=True)
        else:
            await put(blobs, *[input_key(workspace_id, id, 0) for id in ids])
        kept = input_key(workspace_id, id_from(0), 0)
        await put(blobs, kept)
        assert await Orphans(database, blobs).search() == 1200
        assert [key async for page in blobs.batch_keys() for key in page] == [kept.rpartition("/")[0]]


async def test_drafts_that_a_killed_process_left_in_a_live_batch_go(
    database: Database, workspace_id: str, tmp_path: Path
) -> None:
    blobs = open_blobs("", tmp_path)
    assert blobs.folder is not None
    (id,) = await accept(database, workspace_id)
    unknown_young = id_from(0)
    drafts = []
    for batch in (id, unknown_young):
        await put(blobs, *keys_of(workspace_id, batch))
        for key, age in zip(keys_of(workspace_id, batch), (2 * 3600, 60), strict=True):
            path = blobs.folder / key
            draft = path.with_name(f".{path.name}.0123456789abcdef")
            draft.write_bytes(b"half a pict")
            os.utime(draft, (time.time() - age, time.time() - age))
            drafts.append(draft)
    assert await Orphans(database, blobs).search() == 0
    assert [draft.exists() for draft in drafts] == [False, True, True, True]
    assert len(await there(blobs, *keys_of(workspace_id, id), *keys_of(workspace_id, unknown_young))) == 4


async def test_what_cannot_be_removed_does_not_stop_the_search(
    database: Database, workspace_id: str, tmp_path: Path
) -> None:
    blobs = open_blobs("", tmp_path)
    stuck_one(blobs, tmp_path, workspace_id)
    ids = [id_from(DAY) for _ in range(10)]
    await put(blobs, *[key for id in ids for key in keys_of(workspace_id, id)])
    assert await Orphans(database, blobs).search() == 10
    assert (tmp_path / "elsewhere" / "file").read_bytes() == b"precious"
    for _ in range(MAX_FAILURES - 1):
        stuck_one(blobs, tmp_path, workspace_id)
    with pytest.raises(Unavailable):
        await Orphans(database, blobs).search()


def stuck_one(blobs: Blobs, tmp_path: Path, workspace: str) -> None:
    """A folder that leads out of the store, which nobody removes: not even root can be kept from removing others."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "file").write_bytes(b"precious")
    assert blobs.folder is not None
    inputs = blobs.folder / "in" / workspace
    inputs.mkdir(parents=True, exist_ok=True)
    (inputs / id_from(DAY)).symlink_to(elsewhere)


async def test_a_store_that_is_away_stops_the_search(database: Database, workspace_id: str, tmp_path: Path) -> None:
    blobs = open_blobs("", tmp_path)
    assert blobs.folder is not None
    keys = keys_of(workspace_id, id_from(DAY))
    await put(blobs, *keys)
    blobs.folder.rename(tmp_path / "away")
    with pytest.raises(Unavailable):
        await Orphans(database, blobs).search()
    (tmp_path / "away").rename(blobs.folder)
    assert await there(blobs, *keys) == list(keys)


async def test_two_searches_at_once_do_not_disturb_each_other(
    database: Database, workspace_id: str, blobs: Blobs
) -> None:
    (known,) = await accept(database, workspace_id, records=dump_records((Record("1", blob="x"),)))
    kept = keys_of(workspace_id, known)
    gone = [key for _ in range(40) for key in keys_of(workspace_id, id_from(2 * HOUR))]
    await put(blobs, *gone, *kept)
    await asyncio.gather(*[Orphans(database, blobs).search() for _ in range(3)])
    assert await there(blobs, *gone, *kept) == list(kept)
