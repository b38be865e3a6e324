"""Small pictures that were sent along: stored and claimed with their batch, gone with it or when inputs expire."""

from __future__ import annotations

import pytest

from broker.batches import IdempotencyKey, Record, Refusal
from broker.store.chores import Turn, take_turn
from broker.store.database import Database
from broker.store.ends import finish_batches
from broker.store.expiry import Expire, Kind, expire_blobs
from broker.store.leases import GiveBack, give_back_batches
from broker.store.retention import Prune, prune_batches
from broker.store.retries import RetryOrder, retry_batches
from broker.store.rows import dump_records
from tests.integration.store.ended import DAY, back_date
from tests.integration.store.rows import accept, claim, finish, result, select

SMALL = Record("1", small=True)
LINK = Record("2", url="https://example.com/1.jpg")
LARGE = Record("3", blob="in/w/b/2")


async def small(database: Database, workspace: str, picture: bytes = b"picture", *others: Record) -> str:
    """A batch with a small picture."""
    records = (SMALL, *others)
    (id,) = await accept(database, workspace, records=dump_records(records), size=len(records), pictures={0: picture})
    return id


async def ended_long_ago(database: Database, workspace: str, *others: Record) -> str:
    id = await small(database, workspace, b"picture", *others)
    (claimed,) = await claim(database)
    assert await database.writer.write(finish_batches, finish(claimed, result()))
    await back_date(database, id, 4 * DAY)
    return id


async def expire(database: Database) -> list[str]:
    """The batches whose blobs are to go."""
    await database.writer.write(take_turn, Turn(Kind.INPUTS, 0))
    expired = await database.writer.write(expire_blobs, Expire(Kind.INPUTS, DAY, 100))
    return [batch.batch for batch in expired.gone]


async def kept(database: Database) -> list[str]:
    return [row[0] for row in await select(database, "SELECT batch_id FROM pictures ORDER BY batch_id")]


async def test_each_claim_brings_a_batch_its_own_pictures(database: Database, workspace_id: str) -> None:
    first, second = [await small(database, workspace_id, picture) for picture in (b"\x00first", b"\xffsecond")]
    (third,) = await accept(database, workspace_id)
    for _ in range(2):
        claims = await claim(database)
        assert {one.id: dict(one.pictures) for one in claims} == {
            first: {0: b"\x00first"},
            second: {0: b"\xffsecond"},
            third: {},
        }
        for one in claims:
            await database.writer.write(give_back_batches, GiveBack(one.lease, 0))


async def test_a_batch_whose_key_is_taken_leaves_no_pictures(database: Database, workspace_id: str) -> None:
    key = IdempotencyKey("once", b"hash")
    for count in (3, 1):
        records = dump_records((SMALL,))
        await accept(database, workspace_id, count, key=key, records=records, pictures={0: b"picture"})
    assert await kept(database) == [row[0] for row in await select(database, "SELECT id FROM batches")]


async def test_a_small_picture_goes_when_inputs_expire_and_no_blob_is_looked_for(
    database: Database, workspace_id: str
) -> None:
    ids = [await ended_long_ago(database, workspace_id, *others) for others in ((), (LINK,), (LINK, LARGE))]
    fresh = await small(database, workspace_id)
    assert await expire(database) == ids[2:]
    assert await kept(database) == [fresh]
    for id in ids:
        refusal = await database.writer.write(retry_batches, RetryOrder(id, all_records=True))
        assert refusal is Refusal.INPUTS_EXPIRED


async def test_a_small_picture_of_a_batch_that_runs_again_stays(database: Database, workspace_id: str) -> None:
    id = await ended_long_ago(database, workspace_id)
    await database.writer.write(retry_batches, RetryOrder(id, all_records=True))
    assert await expire(database) == []
    (claimed,) = await claim(database)
    assert claimed.pictures == {0: b"picture"}


@pytest.mark.parametrize("others", [(), (LINK, LARGE)])
async def test_a_small_picture_goes_with_its_batch(
    database: Database, workspace_id: str, others: tuple[Record, ...]
) -> None:
    id = await ended_long_ago(database, workspace_id, *others)
    fresh = await small(database, workspace_id)
    assert len(await database.writer.write(prune_batches, Prune((id, fresh), DAY))) == 1
    assert await kept(database) == [fresh]
