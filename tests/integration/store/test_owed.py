"""Deliveries that are begun by their birth: claimed as by a claim, where their endpoint is open."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from broker.deliveries import DueDelivery, NewDelivery
from broker.store.database import Database
from broker.store.ends import finish_batches
from tests.integration.store.rows import (
    MINUTE,
    accept,
    attempt_result,
    claim,
    claim_due,
    delivery,
    endpoint,
    execute,
    finish,
    owe,
    record,
    result,
    select,
)


async def end(database: Database, workspace: str, claim_ms: int | None) -> tuple[NewDelivery, DueDelivery | None]:
    """A batch's delivery, and what is begun of it."""
    await accept(database, workspace, 1)
    (claimed,) = await claim(database, 1)
    owed = replace(delivery(claimed, endpoint=endpoint(workspace, "e")), claim_ms=claim_ms)
    ended = await database.writer.write(finish_batches, finish(claimed, result(), owed=owed))
    assert ended is not None
    return owed, ended.begun


async def test_a_delivery_that_is_begun_is_claimed_and_its_try_written_before_it_is_sent(
    database: Database, workspace_id: str
) -> None:
    owed, begun = await end(database, workspace_id, MINUTE)
    assert await claim_due(database) == []
    leased = await select(database, "SELECT due - created, lease_seq, attempts, step, state FROM deliveries")
    assert leased == [(MINUTE, 1, 1, 1, "pending")]
    assert await select(database, "SELECT number, duration_ms FROM attempts") == [(1, None)]
    await end(database, workspace_id, None)
    (due,) = await claim_due(database)
    assert begun == replace(due, id=owed.id, batch=owed.batch)
    assert begun is not None
    (recorded,) = await record(database, attempt_result(begun))
    assert recorded.settled


async def test_when_its_lease_is_over_another_sends_it(database: Database, workspace_id: str) -> None:
    owed, _ = await end(database, workspace_id, 0)
    (due,) = await claim_due(database)
    assert (due.id, due.lease_seq, due.attempt, due.step) == (owed.id, 2, 2, 2)


@pytest.mark.parametrize(
    "closed", ["holding = true", "open_until = 1", "open_until = 99999999999999", "state = 'disabled'"]
)
async def test_at_an_endpoint_that_is_not_open_none_is_begun(
    database: Database, workspace_id: str, closed: str
) -> None:
    await owe(database, workspace_id)
    await execute(database, f"UPDATE endpoints SET {closed}")
    _, begun = await end(database, workspace_id, MINUTE)
    assert begun is None
    assert await select(database, "SELECT attempts, lease_seq, due - created FROM deliveries") == [(0, 0, 0)] * 2
