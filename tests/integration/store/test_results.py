"""Ends: results, DONE and the delivery are one commit; a checkpoint is kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from broker.batches import Outcome, Status
from broker.store.batches import find_batch
from broker.store.database import Database
from broker.store.ends import Ended, finish_batches
from broker.store.results import Checkpoint, checkpoint_results, results_of
from tests.integration.store.rows import accept, claim, delivery, everything, finish, result, select


async def test_a_finish_writes_results_state_and_delivery(database: Database, workspace_id: str) -> None:
    (id,) = await accept(database, workspace_id)
    (claimed,) = await claim(database)
    facts: dict[str, Any] = {"_width": 3, "name": "Grüße \U0001f600", "nested": [{"$output": "out/key"}, None, 0.1]}
    owed = delivery(claimed)
    results = (result(1, code=404), result(0, **facts))
    assert await database.writer.write(finish_batches, finish(claimed, *results, owed=owed))
    async with database.reading() as connection:
        batch = await find_batch(connection, id)
        stored = await results_of(connection, id)
    assert batch is not None
    assert (batch.status, batch.outcome, batch.lease_seq) == (Status.DONE, Outcome.SUCCEEDED, 1)
    assert [(one.index, one.code, one.facts) for one in stored] == [(0, 200, facts), (1, 404, {})]
    assert [one.request_id for one in stored] == [one.request_id for one in reversed(results)]
    deliveries = await select(
        database, "SELECT id, run, event, target, body, state, attempts, lease_seq, finished FROM deliveries"
    )
    assert deliveries == [(owed.id, 1, owed.event, owed.target, owed.body, "pending", 0, 0, None)]
    lease = await select(database, "SELECT lease_owner, lease_until, finished >= created FROM batches")
    assert lease == [(None, None, True)]


async def test_a_batch_without_a_webhook_owes_none(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id)
    (claimed,) = await claim(database)
    assert await database.writer.write(finish_batches, finish(claimed, result()))
    assert await select(database, "SELECT id FROM deliveries") == []


async def test_a_finish_whose_delivery_cannot_be_stored_changes_nothing(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id, 3)
    claims = await claim(database)
    taken = delivery(claims[0])
    assert await database.writer.write(finish_batches, finish(claims[0], result(), owed=taken))
    before = await everything(database)
    clash = finish(claims[1], result(), owed=delivery(claims[1], id=taken.id))
    with pytest.raises(IntegrityError):
        await database.writer.write(finish_batches, clash)
    assert await everything(database) == before
    # Beside a good one in the same group it fails alone.
    good = finish(claims[2], result(), owed=delivery(claims[2]))
    told = await asyncio.gather(
        *[database.writer.write(finish_batches, end) for end in (clash, good)], return_exceptions=True
    )
    assert isinstance(told[0], IntegrityError)
    assert told[1] == Ended()
    statuses = dict(await select(database, "SELECT id, status FROM batches"))
    assert [statuses[one.id] for one in claims] == ["DONE", "PROCESSING", "DONE"]


async def test_a_second_event_of_one_run_is_refused(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id, 2)
    first, second = await claim(database)
    assert await database.writer.write(finish_batches, finish(first, result(), owed=delivery(first)))
    before = await everything(database)
    doubled = delivery(second, batch=first.id)
    with pytest.raises(IntegrityError):
        await database.writer.write(finish_batches, finish(second, result(), owed=doubled))
    assert await everything(database) == before


async def test_a_finish_that_comes_twice_counts_once(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id)
    (claimed,) = await claim(database)
    end = finish(claimed, result(), owed=delivery(claimed))
    told = await asyncio.gather(*[database.writer.write(finish_batches, end) for _ in range(2)])
    assert sorted(map(bool, told)) == [False, True]
    assert await select(database, "SELECT count(*) FROM results") == [(1,)]


async def test_a_finish_adds_to_the_checkpoints(database: Database, workspace_id: str) -> None:
    (id,) = await accept(database, workspace_id)
    (claimed,) = await claim(database)
    for index in (1, 0):
        assert await database.writer.write(checkpoint_results, Checkpoint(claimed.lease, 1, (result(index),)))
    assert await database.writer.write(finish_batches, finish(claimed, result(2)))
    async with database.reading() as connection:
        assert [one.index for one in await results_of(connection, id)] == [0, 1, 2]


async def test_a_record_that_is_stored_twice_keeps_its_first_result(database: Database, workspace_id: str) -> None:
    """As when the answer to the first checkpoint was lost, and its results come again with the end."""
    await accept(database, workspace_id)
    (claimed,) = await claim(database)
    assert await database.writer.write(checkpoint_results, Checkpoint(claimed.lease, 1, (result(0),)))
    twice = Checkpoint(claimed.lease, 1, (result(1), result(0, code=500)))
    assert await database.writer.write(checkpoint_results, twice)
    found = await select(database, "SELECT position, code FROM results ORDER BY position")
    assert found == [(0, 200), (1, 200)]


async def test_many_finishes_in_one_group(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id, 100)
    ends = [finish(one, *map(result, range(10)), owed=delivery(one)) for one in await claim(database, 100)]
    assert all(await asyncio.gather(*[database.writer.write(finish_batches, end) for end in ends]))
    counts = await select(
        database,
        "SELECT (SELECT count(*) FROM batches WHERE status = 'DONE'), (SELECT count(*) FROM results), "
        "(SELECT count(*) FROM deliveries)",
    )
    assert counts == [(100, 1000, 100)]
