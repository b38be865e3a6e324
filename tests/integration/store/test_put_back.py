"""A claimed webhook that nobody began to send is due again as if nobody had claimed it."""

from __future__ import annotations

import asyncio

import pytest

from broker.deliveries import DueDelivery
from broker.store.database import Database
from broker.store.put_back import put_back_deliveries
from tests.integration.store.rows import EXPIRED, claim_due, execute, owe, select

ROW = "SELECT state, manual, attempts, step, lease_seq, due IS NOT NULL FROM deliveries"
HELD = "SELECT held IS NOT NULL, due IS NOT NULL FROM deliveries"


async def put_back(database: Database, *claimed: DueDelivery) -> list[bool]:
    return [await database.writer.write(put_back_deliveries, one) for one in claimed]


async def tries(database: Database) -> list[tuple[int, int]]:
    rows = await select(database, "SELECT number, manual FROM attempts ORDER BY number")
    return [(number, int(manual)) for number, manual in rows]


async def test_what_is_put_back_is_due_at_once_and_has_no_try(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id)
    (claimed,) = await claim_due(database)
    assert await put_back(database, claimed) == [True]
    assert await tries(database) == []
    assert [tuple(map(int, row[1:])) for row in await select(database, ROW)] == [(0, 0, 0, 1, 1)]
    (again,) = await claim_due(database)
    assert (again.id, again.attempt, again.step, again.lease_seq) == (claimed.id, 1, 1, 2)


async def test_earlier_tries_stay_when_one_is_put_back(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id)
    await claim_due(database, lease_ms=EXPIRED)
    (second,) = await claim_due(database)
    assert await put_back(database, second) == [True]
    assert await tries(database) == [(1, 0)]


async def test_what_a_person_asked_for_is_still_asked_for_and_has_taken_no_step(
    database: Database, workspace_id: str
) -> None:
    await owe(database, workspace_id)
    await execute(database, "UPDATE deliveries SET state = 'exhausted', manual = true")
    (claimed,) = await claim_due(database)
    assert await put_back(database, claimed) == [True]
    ((state, *numbers),) = await select(database, ROW)
    assert (state, *map(int, numbers)) == ("exhausted", 1, 0, 0, 1, 1)


async def test_who_lost_the_claim_puts_nothing_back(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id)
    (lost,) = await claim_due(database, lease_ms=EXPIRED)
    await claim_due(database)
    before = await select(database, ROW)
    assert await put_back(database, lost) == [False]
    assert await select(database, ROW) == before
    assert await tries(database) == [(1, 0), (2, 0)]


async def test_of_two_claims_put_back_at_once_only_the_latest_is(database: Database, workspace_id: str) -> None:
    """A process that was frozen claims anew what it had claimed."""
    await owe(database, workspace_id)
    (lost,) = await claim_due(database, lease_ms=EXPIRED)
    (latest,) = await claim_due(database)
    writes = [database.writer.write(put_back_deliveries, one) for one in (lost, latest)]
    assert await asyncio.gather(*writes) == [False, True]
    assert await tries(database) == [(1, 0)]


async def test_a_try_that_took_no_step_gives_none_back_when_it_is_asked_for_no_more(
    database: Database, workspace_id: str
) -> None:
    """Its batch was run again, or its endpoint disabled, while it waited for its turn."""
    await owe(database, workspace_id)
    await execute(database, "UPDATE deliveries SET manual = true")
    (claimed,) = await claim_due(database)
    await execute(database, "UPDATE deliveries SET state = 'superseded', manual = false, due = NULL")
    assert await put_back(database, claimed) == [True]
    ((state, *numbers),) = await select(database, ROW)
    assert (state, *map(int, numbers)) == ("superseded", 0, 0, 0, 1, 0)


@pytest.mark.parametrize("state", ["superseded", "stopped"])
async def test_what_is_not_owed_any_more_is_not_due_again_and_loses_only_its_try(
    database: Database, workspace_id: str, state: str
) -> None:
    await owe(database, workspace_id)
    (claimed,) = await claim_due(database)
    await execute(database, f"UPDATE deliveries SET state = '{state}', due = NULL")
    assert await put_back(database, claimed) == [True]
    ((kept, *numbers),) = await select(database, ROW)
    assert (kept, *map(int, numbers)) == (state, 0, 0, 0, 1, 0)
    assert await tries(database) == []


async def test_what_was_held_meanwhile_is_due_and_no_longer_held(database: Database, workspace_id: str) -> None:
    """Its claim was over before its process, which was frozen, found no turn; another one found no room."""
    await owe(database, workspace_id)
    (claimed,) = await claim_due(database, lease_ms=EXPIRED)
    assert await claim_due(database, room=0) == []
    assert await select(database, HELD) == [(True, False)]
    assert await put_back(database, claimed) == [True]
    assert await select(database, HELD) == [(False, True)]
