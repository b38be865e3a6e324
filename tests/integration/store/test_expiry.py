"""Expired pictures: said in the row of a batch that ended, once, in bounded steps, never of one that runs again."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from broker.batches import Record, new_id
from broker.store.chores import Turn, take_turn
from broker.store.database import Database, open_database
from broker.store.ends import finish_batches
from broker.store.expiry import Expire, Expired, Kept, Kind, expire_blobs, kept_of
from broker.store.rows import dump_records
from tests.integration.store.ended import (
    CHUNK,
    DAY,
    HOUR,
    MINUTE,
    assert_walks_by_index,
    back_date,
    crowd,
    ended,
    plans_of,
    run_again,
)
from tests.integration.store.rows import accept, claim, execute, finish, result, select


async def expire(database: Database, kind: Kind = Kind.OUTPUTS, age_ms: int = 3 * DAY, limit: int = 100) -> Expired:
    await database.writer.write(take_turn, Turn(kind, 0))
    return await database.writer.write(expire_blobs, Expire(kind, age_ms, limit))


async def all_expired(database: Database, limit: int) -> list[str]:
    """The batches whose outputs expire, in the order in which they are found."""
    ids, more = [], True
    while more:
        expired = await expire(database, limit=limit)
        assert len(expired.gone) <= limit
        ids += [batch.batch for batch in expired.gone]
        more = expired.more
    return ids


async def marked(database: Database, kind: Kind = Kind.OUTPUTS) -> list[str]:
    rows = await select(database, f"SELECT id FROM batches WHERE {kind}_expired IS NOT NULL ORDER BY id")
    return [row[0] for row in rows]


async def done_again(database: Database) -> None:
    (claimed,) = await claim(database)
    assert await database.writer.write(finish_batches, finish(claimed, result()))


async def test_outputs_expire_by_the_age_of_the_end(database: Database, workspace_id: str) -> None:
    (old,) = await ended(database, workspace_id, ago_ms=3 * DAY + MINUTE)
    await ended(database, workspace_id, ago_ms=3 * DAY - MINUTE)
    await accept(database, workspace_id)
    expired = await expire(database)
    assert [(batch.workspace, batch.batch, batch.lease_seq) for batch in expired.gone] == [(workspace_id, old, 1)]
    assert not expired.more
    assert await marked(database) == [old]


@pytest.mark.parametrize("limit", [1, 7, 12, 100])
async def test_each_is_told_once_though_many_ended_in_one_instant(
    database: Database, workspace_id: str, limit: int
) -> None:
    ids = await ended(database, workspace_id, 24, ago_ms=4 * DAY)
    instants = await select(database, "SELECT count(DISTINCT finished) FROM batches")
    assert instants[0][0] < 24
    found = await all_expired(database, limit)
    assert sorted(found) == ids
    assert await all_expired(database, limit) == []


async def test_what_ends_later_is_found_later(database: Database, workspace_id: str) -> None:
    first = await ended(database, workspace_id, ago_ms=5 * DAY)
    assert await all_expired(database, 10) == first
    second = await ended(database, workspace_id, ago_ms=4 * DAY)
    third = await ended(database, workspace_id, ago_ms=1 * DAY)
    assert await all_expired(database, 10) == second
    assert await marked(database) == sorted(first + second)
    assert await select(database, "SELECT outputs_expired FROM batches WHERE id = :id", id=third[0]) == [(None,)]


async def test_a_batch_that_runs_again_keeps_its_outputs(database: Database, workspace_id: str) -> None:
    (id,) = await ended(database, workspace_id, ago_ms=4 * DAY)
    await run_again(database, id)
    assert await all_expired(database, 10) == []
    assert await marked(database) == []


async def test_a_second_run_s_outputs_have_a_life_of_their_own(database: Database, workspace_id: str) -> None:
    (id,) = await ended(database, workspace_id, ago_ms=5 * DAY)
    assert await all_expired(database, 10) == [id]
    await execute(database, "UPDATE batches SET outputs_expired = outputs_expired - :ms", ms=2 * DAY)
    await run_again(database, id)
    await done_again(database)
    async with database.reading() as connection:
        _, kept = await kept_of(connection, [id])
    assert kept == {id: Kept(lease_seq=2, inputs=True, outputs=True)}
    assert await all_expired(database, 10) == []
    await execute(
        database,
        "UPDATE batches SET finished = finished - :ms, outputs_expired = outputs_expired - :ms",
        ms=3 * DAY + HOUR,
    )
    expired = await expire(database)
    assert [(batch.batch, batch.lease_seq) for batch in expired.gone] == [(id, 2)]


async def test_only_pictures_that_were_sent_along_expire_as_inputs(database: Database, workspace_id: str) -> None:
    url, blob = "https://example.com/1.jpg", "in/w/b/0"
    inputs = {
        "links": (Record("1", url=url),),
        "looks like a picture": (Record("1", url=url, id_given=True, fields={"blob": "mine"}),),
        "picture": (Record("1", blob=blob),),
        "both": (Record("1", url=url), Record("2", blob=blob)),
    }
    ids = {}
    for name, records in inputs.items():
        (ids[name],) = await accept(database, workspace_id, records=dump_records(records), size=len(records))
        await done_again(database)
        await back_date(database, ids[name], 4 * DAY)
    expired = await expire(database, Kind.INPUTS)
    assert {batch.batch for batch in expired.gone} == {ids["picture"], ids["both"]}
    assert await marked(database, Kind.INPUTS) == sorted([ids["picture"], ids["both"]])
    assert await marked(database, Kind.OUTPUTS) == []


async def test_inputs_and_outputs_expire_apart(database: Database, workspace_id: str) -> None:
    (id,) = await accept(database, workspace_id, records=dump_records((Record("1", blob="in/w/b/0"),)))
    await done_again(database)
    await back_date(database, id, 2 * DAY)
    assert (await expire(database, Kind.INPUTS, age_ms=DAY)).gone
    assert not (await expire(database, Kind.OUTPUTS, age_ms=3 * DAY)).gone
    await back_date(database, id, 2 * DAY)
    assert (await expire(database, Kind.OUTPUTS, age_ms=3 * DAY)).gone
    async with database.reading() as connection:
        _, kept = await kept_of(connection, [id])
    assert kept == {id: Kept(lease_seq=1, inputs=False, outputs=False)}


async def test_two_workers_at_once_share_the_work(
    database: Database, workspace_id: str, database_url: str, tmp_path: Path
) -> None:
    ids = await ended(database, workspace_id, 200, ago_ms=4 * DAY)
    other = open_database(database_url, tmp_path)
    try:
        mine, theirs = await asyncio.gather(all_expired(database, 10), all_expired(other, 10))
    finally:
        await other.aclose()
    assert sorted(mine + theirs) == ids


async def test_what_is_kept_is_told_of_batches_that_exist(database: Database, workspace_id: str) -> None:
    (open_one,) = await accept(database, workspace_id)
    async with database.reading() as connection:
        now, kept = await kept_of(connection, [open_one, new_id(), open_one])
        _, nothing = await kept_of(connection, [])
    assert nothing == {}
    assert abs(now - time.time() * 1000) < MINUTE
    assert kept == {open_one: Kept(lease_seq=0, inputs=True, outputs=True)}


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_step_looks_at_no_more_than_its_chunk(database: Database, workspace_id: str, kind: Kind) -> None:
    await crowd(database, workspace_id)
    await database.writer.write(take_turn, Turn(kind, 0))
    assert_walks_by_index(await plans_of(database, expire_blobs, Expire(kind, 3 * DAY, CHUNK)))
