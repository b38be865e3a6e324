"""What is kept how long, with its pictures: rows before blobs, in steps between which others write."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from broker.batches import Record
from broker.errors import Unavailable
from broker.media.blobs import Blobs, input_key, open_blobs, output_key
from broker.media.links import stored
from broker.store.batches import insert_batches
from broker.store.chores import Turn, take_turn
from broker.store.database import Database, open_database
from broker.store.ends import finish_batches
from broker.store.expiry import Kind
from broker.store.rows import dump_records
from broker.work.orphans import Orphans
from broker.work.retention import CHUNK, Retention
from tests.integration.running import Broker, StartBroker
from tests.integration.store.ended import DAY, HOUR, MINUTE, back_date, ended, id_from, refusing
from tests.integration.store.rows import accept, claim, everything, execute, finish, new_batch, result, select
from tests.integration.stores import exists

IN_MS, OUT_MS, BATCH_MS = DAY, 3 * DAY, 30 * DAY


def retention_of(database: Database, blobs: Blobs) -> Retention:
    return Retention(database, blobs, input_ms=IN_MS, output_ms=OUT_MS, batch_ms=BATCH_MS)


async def expire(retention: Retention, kind: Kind) -> int:
    await retention.database.writer.write(take_turn, Turn(kind, 0))
    return await retention.expire(kind)


async def with_pictures(database: Database, blobs: Blobs, workspace: str, *, ago_ms: int) -> tuple[str, str, str]:
    """A batch that ended `ago_ms` ago, the key of its input and of its output."""
    id = id_from(ago_ms)
    sent, made = input_key(workspace, id, 0), output_key(workspace, id, 1, 0, "a.jpg")
    for key in (sent, made):
        await blobs.put(key, b"picture")
    await accept(database, workspace, id=id, records=dump_records((Record("1", blob=sent),)))
    (claimed,) = await claim(database)
    assert await database.writer.write(finish_batches, finish(claimed, result(_url=stored(made))))
    await back_date(database, id, ago_ms)
    return id, sent, made


async def test_each_kind_of_picture_has_its_own_life(database: Database, workspace_id: str, blobs: Blobs) -> None:
    retention = retention_of(database, blobs)
    id, sent, made = await with_pictures(database, blobs, workspace_id, ago_ms=IN_MS - HOUR)
    for ago_ms, left in ((0, (True, True)), (2 * HOUR, (False, True)), (2 * DAY, (False, False))):
        await back_date(database, id, ago_ms)
        for kind in Kind:
            await expire(retention, kind)
        assert (await exists(blobs, sent), await exists(blobs, made)) == left
    assert await select(database, "SELECT id FROM batches WHERE inputs_expired > 0 AND outputs_expired > 0") == [(id,)]


async def test_outputs_outlive_the_last_link_to_them(database: Database, workspace_id: str, tmp_path: Path) -> None:
    # Results are stamped a moment after their batch, and links end by the clock of another machine.
    blobs = open_blobs("", tmp_path)
    _, _, made = await with_pictures(database, blobs, workspace_id, ago_ms=OUT_MS + MINUTE // 2)
    assert await expire(retention_of(database, blobs), Kind.OUTPUTS) == 0
    assert await exists(blobs, made)


async def test_an_old_batch_goes_with_its_pictures(database: Database, workspace_id: str, blobs: Blobs) -> None:
    retention = retention_of(database, blobs)
    _, *gone = await with_pictures(database, blobs, workspace_id, ago_ms=BATCH_MS + HOUR)
    id, *kept = await with_pictures(database, blobs, workspace_id, ago_ms=BATCH_MS - HOUR)
    assert await retention.prune() == 1
    assert [await exists(blobs, key) for key in (*gone, *kept)] == [False, False, True, True]
    assert await select(database, "SELECT id FROM batches") == [(id,)]


async def test_outputs_of_a_run_that_began_meanwhile_stay(database: Database, workspace_id: str, blobs: Blobs) -> None:
    # A retry between the look and the removal: what the new run makes has a higher number.
    id, _, made = await with_pictures(database, blobs, workspace_id, ago_ms=OUT_MS + HOUR)
    newer = output_key(workspace_id, id, 2, 0, "a.jpg")
    await blobs.put(newer, b"picture")
    assert await expire(retention_of(database, blobs), Kind.OUTPUTS) == 1
    assert [await exists(blobs, key) for key in (made, newer)] == [False, True]


async def test_a_link_to_a_removed_output_is_a_410(start_broker: StartBroker) -> None:
    broker = await start_broker()
    core = broker.core
    id, _, made = await with_pictures(core.database, core.blobs, broker.tenant.workspace, ago_ms=0)
    link = core.links.url("", made, int(time.time()) + 3600)
    assert (await broker.http.get(link)).content == b"picture"
    await back_date(core.database, id, OUT_MS + HOUR)
    assert await expire(retention_of(core.database, core.blobs), Kind.OUTPUTS) == 1
    answer = await broker.http.get(link)
    assert (answer.status_code, answer.json()) == (410, {"detail": "This file has expired."})
    await back_date(core.database, id, BATCH_MS)
    assert await retention_of(core.database, core.blobs).prune() == 1
    assert (await broker.http.get(link)).status_code == 410
    assert not await exists(core.blobs, made)


async def test_a_batch_whose_inputs_expired_cannot_run_again(broker: Broker) -> None:
    core = broker.core
    id, sent, _ = await with_pictures(core.database, core.blobs, broker.tenant.workspace, ago_ms=IN_MS + HOUR)
    await expire(retention_of(core.database, core.blobs), Kind.INPUTS)
    answer = await broker.http.post(f"/api/batches/{id}/retry", json={"all": True})
    assert answer.status_code == 410
    assert await select(core.database, "SELECT status, run FROM batches") == [("DONE", 1)]
    assert not await exists(core.blobs, sent)


async def test_a_removal_that_the_disk_cut_off_is_finished_by_the_search(
    database: Database, workspace_id: str, tmp_path: Path
) -> None:
    blobs = open_blobs("", tmp_path)
    retention, root, away = retention_of(database, blobs), blobs.folder, tmp_path / "away"
    assert root is not None
    _, _, made = await with_pictures(database, blobs, workspace_id, ago_ms=OUT_MS + HOUR)
    _, *both = await with_pictures(database, blobs, workspace_id, ago_ms=BATCH_MS + HOUR)
    root.rename(away)
    with pytest.raises(Unavailable):
        await expire(retention, Kind.OUTPUTS)
    with pytest.raises(Unavailable):
        await retention.prune()
    assert await select(database, "SELECT count(*) FROM batches WHERE outputs_expired IS NULL") == [(0,)]
    away.rename(root)
    assert [await exists(blobs, key) for key in (made, *both)] == [True, True, True]
    assert await expire(retention, Kind.OUTPUTS) == await retention.prune() == 0
    assert await Orphans(database, blobs).search() == 2
    assert [await exists(blobs, key) for key in (made, *both)] == [False, False, False]


@pytest.mark.parametrize("chore", [*Kind, "batches"])
async def test_no_blob_goes_before_its_row(database: Database, workspace_id: str, blobs: Blobs, chore: str) -> None:
    """The database refuses what would say that it is no longer kept; where it does not, both go."""
    _, sent, made = await with_pictures(database, blobs, workspace_id, ago_ms=BATCH_MS + HOUR)
    retention = retention_of(database, blobs)
    async with refusing(database, "DELETE" if chore == "batches" else "UPDATE"):
        with pytest.raises(IntegrityError):
            await do(retention, chore)
    assert [await exists(blobs, key) for key in (sent, made)] == [True, True]
    assert await do(retention, chore) == 1
    assert [await exists(blobs, key) for key in (sent, made)] == [chore == Kind.OUTPUTS, chore == Kind.INPUTS]


async def do(retention: Retention, chore: str) -> int:
    return await (retention.prune() if chore == "batches" else expire(retention, Kind(chore)))


async def test_posts_go_on_while_5000_old_batches_are_pruned(
    database: Database, database_url: str, workspace_id: str, tmp_path: Path
) -> None:
    blobs = open_blobs("", tmp_path)
    for _ in range(10):
        await ended(database, workspace_id, 500, ago_ms=BATCH_MS + HOUR)
    web = open_database(database_url, tmp_path)
    pruning = asyncio.create_task(retention_of(database, blobs).prune())
    steps: set[int] = set()
    accepted = 0
    try:
        while not pruning.done():
            await web.writer.write(insert_batches, new_batch(workspace_id))
            accepted += 1
            ((left,),) = await select(web, "SELECT count(*) FROM batches WHERE status = 'DONE'")
            steps.add(left)
    finally:
        assert await pruning == 5000
        await web.aclose()
    assert all(left % CHUNK == 0 for left in steps)
    assert len(steps) > 10
    assert {name: len(rows) for name, rows in (await everything(database)).items()} == {
        "batches": accepted,
        "results": 0,
        "deliveries": 0,
        "attempts": 0,
    }


async def test_two_workers_that_prune_at_once_do_not_disturb_each_other(
    database: Database, database_url: str, workspace_id: str, blobs: Blobs, tmp_path: Path
) -> None:
    keys: list[str] = []
    for _ in range(30):
        keys += (await with_pictures(database, blobs, workspace_id, ago_ms=BATCH_MS + HOUR))[1:]
    other = open_database(database_url, tmp_path)
    try:
        retentions = [retention_of(one, blobs) for one in (database, other, database, other)]
        assert sum(await asyncio.gather(*[retention.prune() for retention in retentions])) == 30
    finally:
        await other.aclose()
    assert not any([await exists(blobs, key) for key in keys])
    assert not any((await everything(database)).values())


async def test_a_look_does_everything_that_is_due_once(database: Database, workspace_id: str, tmp_path: Path) -> None:
    blobs = open_blobs("", tmp_path)
    retention = retention_of(database, blobs)
    await with_pictures(database, blobs, workspace_id, ago_ms=BATCH_MS + HOUR)
    id, *kept = await with_pictures(database, blobs, workspace_id, ago_ms=OUT_MS + HOUR)
    await execute(
        database,
        "UPDATE batches SET idempotency_key = 'key', body_hash = :hash, created = created - :ms WHERE id = :id",
        hash=b"hash",
        ms=2 * DAY,
        id=id,
    )
    await retention.once()
    rows = await select(database, "SELECT id, idempotency_key FROM batches WHERE outputs_expired + inputs_expired > 0")
    assert rows == [(id, None)]
    assert [await exists(blobs, key) for key in kept] == [False, False]
    young, *others = await with_pictures(database, blobs, workspace_id, ago_ms=BATCH_MS + HOUR)
    await retention.once()
    assert await select(database, "SELECT count(*) FROM batches WHERE id = :id", id=young) == [(1,)]
    assert [await exists(blobs, key) for key in others] == [True, True]
