"""Deliveries: claimed when due, the attempt written before the send, moved on only by the lease that is held."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from broker.deliveries import AttemptResult, State
from broker.store.database import Database, open_database
from tests.integration.store.rows import (
    EXPIRED,
    MINUTE,
    attempt_result,
    claim_due,
    everything,
    execute,
    owe,
    record,
    select,
)


async def settle(database: Database, *results: AttemptResult) -> list[bool]:
    return [recorded.settled for recorded in await record(database, *results)]


async def test_a_claim_writes_the_attempt_before_anything_is_sent(database: Database, workspace_id: str) -> None:
    (id,) = await owe(database, workspace_id)
    (due,) = await claim_due(database)
    assert (due.id, due.workspace, due.lease_seq, due.attempt) == (id, workspace_id, 1, 1)
    assert (due.target, due.body) == (b"box", b'{"status":"DONE"}')
    attempts = await select(
        database, "SELECT delivery_id, number, manual, duration_ms, status_code, error, response FROM attempts"
    )
    assert attempts == [(id, 1, False, None, None, None, None)]
    assert await select(database, "SELECT state, attempts, lease_seq FROM deliveries") == [("pending", 1, 1)]


async def test_a_claimed_delivery_is_not_claimed_again_while_its_lease_lasts(
    database: Database, workspace_id: str
) -> None:
    await owe(database, workspace_id)
    assert len(await claim_due(database)) == 1
    assert await claim_due(database) == []


async def test_a_sender_that_died_is_followed_by_another_attempt(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id)
    (lost,) = await claim_due(database, lease_ms=EXPIRED)
    (again,) = await claim_due(database)
    assert (lost.attempt, again.attempt, again.lease_seq) == (1, 2, 2)
    assert again.body == lost.body
    assert await select(database, "SELECT number FROM attempts ORDER BY number") == [(1,), (2,)]


async def test_the_longest_due_come_first_and_no_more_than_the_limit(database: Database, workspace_id: str) -> None:
    ids = await owe(database, workspace_id, 7)
    for place, id in enumerate(reversed(ids)):
        await execute(database, "UPDATE deliveries SET due = :due WHERE id = :id", due=place, id=id)
    rounds = [{due.id for due in await claim_due(database, 3)} for _ in range(4)]
    assert rounds == [set(ids[4:]), set(ids[1:4]), set(ids[:1]), set()]


@pytest.mark.parametrize("state", sorted(set(State) - {State.PENDING}))
async def test_only_pending_deliveries_are_claimed(database: Database, workspace_id: str, state: State) -> None:
    await owe(database, workspace_id)
    await execute(database, "UPDATE deliveries SET state = :state", state=state)
    assert await claim_due(database) == []


async def test_a_delivered_one_is_finished(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id)
    (due,) = await claim_due(database, lease_ms=EXPIRED)
    assert await settle(database, attempt_result(due)) == [True]
    attempts = await select(database, "SELECT duration_ms, status_code, error, response FROM attempts")
    assert attempts == [(12, 200, None, b"thanks")]
    assert await select(database, "SELECT state, finished >= created FROM deliveries") == [("delivered", True)]
    assert await claim_due(database) == []


async def test_a_failed_one_is_due_after_its_pause(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id)
    (due,) = await claim_due(database)
    failed = attempt_result(due, State.PENDING, status_code=None, error="timeout", response=b"", pause_ms=10 * MINUTE)
    assert await settle(database, failed) == [True]
    assert await claim_due(database) == []
    ((state, wait, finished),) = await select(database, "SELECT state, due - created, finished FROM deliveries")
    assert (state, finished) == ("pending", None)
    assert wait >= 10 * MINUTE
    assert await select(database, "SELECT status_code, error FROM attempts") == [(None, "timeout")]
    await execute(database, "UPDATE deliveries SET due = due - :pause", pause=11 * MINUTE)
    (second,) = await claim_due(database)
    assert (second.attempt, second.lease_seq) == (2, 2)


async def test_the_instant_retry_is_an_attempt_but_no_step_of_the_schedule(
    database: Database, workspace_id: str
) -> None:
    await owe(database, workspace_id)
    seen = []
    for hurry in (False, True, False, False):
        (due,) = await claim_due(database)
        seen.append((due.attempt, due.step, due.hurried))
        failed = attempt_result(due, State.PENDING, status_code=None, error="connection", hurry=hurry)
        assert await settle(database, failed) == [True]
    assert seen == [(1, 1, False), (2, 2, False), (3, 2, True), (4, 3, True)]


async def test_a_stale_lease_ends_its_attempt_but_moves_nothing(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id)
    (stale,) = await claim_due(database, lease_ms=EXPIRED)
    (fresh,) = await claim_due(database)
    before = await select(database, "SELECT * FROM deliveries")
    assert await settle(database, attempt_result(stale)) == [False]
    assert await select(database, "SELECT * FROM deliveries") == before
    assert await select(database, "SELECT number, status_code FROM attempts ORDER BY number") == [(1, 200), (2, None)]
    assert await settle(database, attempt_result(fresh, State.EXHAUSTED, status_code=500)) == [True]
    assert await select(database, "SELECT state FROM deliveries") == [("exhausted",)]


async def test_a_superseded_delivery_stays_so_whatever_its_last_try_brought(
    database: Database, workspace_id: str
) -> None:
    await owe(database, workspace_id)
    (due,) = await claim_due(database)
    await execute(database, "UPDATE deliveries SET state = 'superseded'")
    assert await settle(database, attempt_result(due, State.PENDING)) == [False]
    assert await select(database, "SELECT state FROM deliveries") == [("superseded",)]


async def test_an_outcome_that_is_recorded_twice_counts_once(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id)
    (due,) = await claim_due(database)
    assert await settle(database, attempt_result(due), attempt_result(due, State.REFUSED)) == [True, False]
    assert await select(database, "SELECT state FROM deliveries") == [("delivered",)]
    before = await everything(database)
    assert await settle(database, attempt_result(due, status_code=200)) == [False]
    assert await everything(database) == before


async def test_many_outcomes_in_one_group(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id, 60)
    claimed = await claim_due(database, 60)
    states = [State.DELIVERED, State.PENDING, State.REFUSED]
    results = [attempt_result(due, states[place % 3], pause_ms=MINUTE) for place, due in enumerate(claimed)]
    assert all(await settle(database, *results))
    counts = await select(database, "SELECT state, count(*) FROM deliveries GROUP BY state ORDER BY state")
    assert counts == [("delivered", 20), ("pending", 20), ("refused", 20)]


async def test_two_senders_never_get_the_same_delivery(
    database_url: str, tmp_path: Path, database: Database, workspace_id: str
) -> None:
    ids = await owe(database, workspace_id, 120)
    other = open_database(database_url, tmp_path)

    async def claim_all(by: Database) -> list[str]:
        mine: list[str] = []
        while some := await claim_due(by, 3):
            mine += [due.id for due in some]
        return mine

    one, two = await asyncio.gather(claim_all(database), claim_all(other))
    await other.aclose()
    assert sorted(one + two) == ids
    assert await select(database, "SELECT count(*), max(number) FROM attempts") == [(120, 1)]
