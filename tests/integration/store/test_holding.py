"""What is due at an endpoint without room leaves the queue, and comes back in order; a disabled one's is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from broker.batches import new_id
from broker.deliveries import State
from broker.endpoints import OPEN_MS, Call
from broker.store.database import Database, open_database
from broker.store.deliveries import LOOK, DueOrder, claim_deliveries
from broker.store.workspaces import NewWorkspace, insert_workspaces
from tests.integration.store.ended import assert_scans_no_table, plans_of
from tests.integration.store.rows import (
    EXPIRED,
    MINUTE,
    Rooms,
    attempt_result,
    claim_due,
    execute,
    owe,
    record,
    select,
)

BUSY, OTHER = "b", "o"
COPY = """INSERT INTO endpoints SELECT {id}, workspace_id, origin, place, state, reason, since, failures, failing_since,
    recent, open_until, holding, created FROM {endpoints} WHERE id = :one"""
NEIGHBOUR = COPY.format(id=":other", endpoints="endpoints")
NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2000) "
MANY_MORE = NUMBERS + COPY.format(id="CAST(n AS text)", endpoints="endpoints, numbers")


async def states(database: Database) -> list[tuple[str, int, bool, bool]]:
    """(state, attempts, due, held) of each delivery, in the order of their ids."""
    statement = "SELECT state, attempts, due IS NOT NULL, held IS NOT NULL FROM deliveries ORDER BY id"
    return [(state, tries, bool(due), bool(held)) for state, tries, due, held in await select(database, statement)]


async def break_endpoint(database: Database, *, until: int) -> None:
    """Open the breaker of the only endpoint until so many ms from now."""
    ((now,),) = await select(database, "SELECT max(created) FROM deliveries")
    await execute(database, "UPDATE endpoints SET open_until = :until", until=now + until)


async def set_due(database: Database, *ids: str) -> None:
    """In this order, long ago."""
    for place, id in enumerate(ids):
        await execute(database, "UPDATE deliveries SET due = :due WHERE id = :id", due=place, id=id)


async def test_what_has_no_room_is_held_and_does_not_stand_in_the_way(database: Database, workspace_id: str) -> None:
    busy = await owe(database, workspace_id, 5, at=BUSY)
    others = await owe(database, workspace_id, 2, at=OTHER)
    await set_due(database, *busy, *others)
    first = await claim_due(database, 4, room=2)
    assert {due.id for due in first} == {*busy[:2], *others}
    held = await select(database, "SELECT id FROM deliveries WHERE held IS NOT NULL ORDER BY held")
    assert held == [(id,) for id in busy[2:]]
    assert await select(database, "SELECT id, holding FROM endpoints ORDER BY id") == [
        (BUSY * 32, True),
        (OTHER * 32, False),
    ]


async def test_what_is_held_is_taken_up_the_longest_due_first(database: Database, workspace_id: str) -> None:
    ids = await owe(database, workspace_id, 5)
    await set_due(database, *reversed(ids))
    rounds = [await claim_due(database, room=2) for _ in range(4)]
    assert [{due.id for due in round} for round in rounds] == [set(ids[3:]), set(ids[1:3]), {ids[0]}, set()]
    assert await select(database, "SELECT holding FROM endpoints") == [(False,)]
    assert await states(database) == [("pending", 1, True, False)] * 5


async def test_what_is_held_keeps_its_time(database: Database, workspace_id: str) -> None:
    (id,) = await owe(database, workspace_id)
    before = await select(database, "SELECT due FROM deliveries")
    assert await claim_due(database, room=0) == []
    assert await select(database, "SELECT held FROM deliveries") == before
    (due,) = await claim_due(database)
    assert due.id == id
    assert await select(database, "SELECT held FROM deliveries") == [(None,)]


async def test_no_more_are_taken_up_than_the_limit(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id, 6)
    assert await claim_due(database, room=0) == []
    assert len(await claim_due(database, 4)) == 4
    assert len(await claim_due(database, 4)) == 2


async def test_where_slots_are_scarce_what_is_due_and_what_is_held_come_first_in_turns(
    database: Database, workspace_id: str
) -> None:
    held = await owe(database, workspace_id, 4, at=BUSY)
    await claim_due(database, room=0)
    due = await owe(database, workspace_id, 4, at=OTHER)

    async def one(*, due_first: bool) -> str:
        order = DueOrder(1, MINUTE, Rooms(), due_first)
        (claimed,) = (await database.writer.write(claim_deliveries, order)).deliveries
        return claimed.id

    turns = [await one(due_first=first) for first in (True, False, True, False)]
    assert (set(turns[::2]) <= set(due), set(turns[1::2]) <= set(held)) == (True, True)


async def test_endpoints_have_equal_chances_where_more_is_held_than_may_go(
    database: Database, workspace_id: str
) -> None:
    """Those whose ids are neighbours, too."""
    ids = {at: set(await owe(database, workspace_id, 20, at=at)) for at in (BUSY, OTHER)}
    await execute(database, NEIGHBOUR, one=BUSY * 32, other="b" * 31 + "c")
    await execute(
        database, "UPDATE deliveries SET endpoint = :new WHERE endpoint = :old", new="b" * 31 + "c", old=OTHER * 32
    )
    await claim_due(database, room=0)
    came = {due.id for _ in range(20) for due in await claim_due(database, 1)}
    assert came & ids[BUSY]
    assert came & ids[OTHER]


async def test_held_deliveries_of_a_workspace_are_found_behind_any_number_of_another_s(
    database: Database, workspace_id: str
) -> None:
    other = NewWorkspace(id=new_id(), name="other", secrets=b"box")
    await database.writer.write(insert_workspaces, other)
    await owe(database, workspace_id, at=BUSY)
    (id,) = await owe(database, other.id, at=OTHER)
    await claim_due(database, room=0)
    await execute(database, MANY_MORE, one=BUSY * 32)
    order = DueOrder(10, MINUTE, Rooms(full=frozenset({workspace_id})))
    assert [due.id for due in (await database.writer.write(claim_deliveries, order)).deliveries] == [id]


async def test_nothing_is_sent_while_the_breaker_is_open(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id, 3)
    await break_endpoint(database, until=MINUTE)
    for _ in range(2):
        assert await claim_due(database) == []
        assert await states(database) == [("pending", 0, False, True)] * 3


async def test_one_call_probes_a_breaker_that_was_open_for_its_time(database: Database, workspace_id: str) -> None:
    ids = await owe(database, workspace_id, 3)
    await break_endpoint(database, until=MINUTE)
    assert await claim_due(database) == []
    await break_endpoint(database, until=-1)
    probes = [[due.id for due in await claim_due(database)] for _ in range(3)]
    assert probes == [[ids[0]], [], []]


async def test_an_answered_probe_lets_all_go(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id, 4)
    await break_endpoint(database, until=-1)
    assert await claim_due(database) == []  # what is due is held first, whatever time it is
    (probe,) = await claim_due(database)
    await record(database, attempt_result(probe, call=Call.ANSWERED))
    assert len(await claim_due(database)) == 3


async def test_a_failed_probe_keeps_the_breaker_open(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id, 4)
    await break_endpoint(database, until=-1)
    await claim_due(database)
    (probe,) = await claim_due(database)
    await record(database, attempt_result(probe, State.PENDING, status_code=500, pause_ms=MINUTE, call=Call.FAILED))
    assert await claim_due(database) == []
    ((left,),) = await select(database, "SELECT open_until - (SELECT max(started) FROM attempts) FROM endpoints")
    assert 0 < left - OPEN_MS < MINUTE


async def test_a_probe_that_nobody_tells_of_is_followed_by_another(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id, 2)
    await break_endpoint(database, until=-1)
    await claim_due(database)
    (lost,) = await claim_due(database, lease_ms=EXPIRED)
    (next,) = await claim_due(database, lease_ms=EXPIRED)
    assert next.id != lost.id
    (again,) = await claim_due(database)  # it was due again meanwhile, and was held like all others
    assert again.id == lost.id


async def test_what_a_person_asked_for_passes_an_open_breaker(database: Database, workspace_id: str) -> None:
    asked, _ = await owe(database, workspace_id, 2)
    await break_endpoint(database, until=MINUTE)
    await execute(database, "UPDATE deliveries SET manual = true WHERE id = :id", id=asked)
    (due,) = await claim_due(database)
    assert (due.id, due.manual, due.attempt, due.step) == (asked, True, 1, 0)
    assert await select(database, "SELECT manual FROM attempts") == [(True,)]


async def ask_for_held(database: Database, workspace_id: str, count: int) -> list[str]:
    """So many that are held back at an open breaker and asked for; their ids, the longest due last."""
    ids = await owe(database, workspace_id, count)
    await set_due(database, *reversed(ids))
    await break_endpoint(database, until=MINUTE)
    assert await claim_due(database) == []
    await execute(database, "UPDATE deliveries SET manual = true")
    return ids


async def test_what_a_person_asked_for_passes_an_open_breaker_as_there_is_room_the_longest_due_first(
    database: Database, workspace_id: str
) -> None:
    ids = await ask_for_held(database, workspace_id, 6)
    few = [{due.id for due in await claim_due(database, limit, room=room)} for limit, room in ((10, 2), (1, 2))]
    assert few == [set(ids[4:]), {ids[3]}]
    assert await claim_due(database, room=-1) == []  # as where a lane became narrower
    assert {due.id for due in await claim_due(database)} == set(ids[:3])


async def test_what_a_person_asked_for_passes_an_open_breaker_past_what_another_has_locked(
    database_url: str, database: Database, workspace_id: str
) -> None:
    *others, first = await ask_for_held(database, workspace_id, 3)
    async with locked(database_url, "deliveries", first):
        found = {due.id for due in await claim_due(database, room=2)}
    assert found == ({others[1], first} if database_url.startswith("sqlite") else {*others})


@pytest.mark.parametrize("held", [False, True])
async def test_what_is_owed_to_a_disabled_endpoint_is_stopped(
    database: Database, workspace_id: str, *, held: bool
) -> None:
    await owe(database, workspace_id, 3)
    if held:
        await claim_due(database, room=0)
    await execute(database, "UPDATE endpoints SET state = 'disabled'")
    assert await claim_due(database) == []
    assert await states(database) == [("stopped", 0, False, False)] * 3
    assert await select(database, "SELECT count(*) FROM deliveries WHERE finished IS NULL") == [(0,)]


async def test_many_held_ones_of_a_disabled_endpoint_are_stopped_step_by_step(
    database: Database, workspace_id: str
) -> None:
    await owe(database, workspace_id, LOOK + 10)
    while not all(held for *_, held in await states(database)):
        await claim_due(database, room=0)
    await execute(database, "UPDATE endpoints SET state = 'disabled'")
    for left in (10, 0, 0):
        await claim_due(database)
        assert [state for state, *_ in await states(database)].count("pending") == left
    assert await select(database, "SELECT holding FROM endpoints") == [(False,)]


async def test_a_replay_that_is_due_at_a_disabled_endpoint_leaves_its_delivery_as_it_was(
    database: Database, workspace_id: str
) -> None:
    await owe(database, workspace_id)
    (due,) = await claim_due(database)
    await record(database, attempt_result(due))
    before = await select(database, "SELECT * FROM deliveries")
    await execute(database, "UPDATE endpoints SET state = 'disabled'")
    await execute(database, "UPDATE deliveries SET manual = true, due = 0")
    assert await claim_due(database) == []
    assert await select(database, "SELECT * FROM deliveries") == before


async def test_a_claim_says_whether_more_may_be_due(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id, 3)

    async def more(limit: int) -> bool:
        return (await database.writer.write(claim_deliveries, DueOrder(limit, MINUTE, Rooms()))).more

    assert [await more(2), await more(2), await more(2)] == [True, False, False]


@asynccontextmanager
async def locked(database_url: str, table: str, id: str) -> AsyncIterator[None]:
    """Another transaction has a row; on SQLite, whose writers take turns, there is no such thing."""
    if database_url.startswith("sqlite"):
        yield
        return
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await connection.execute(f"SELECT 1 FROM {table} WHERE id = $1 FOR UPDATE", id)
        yield
    await connection.close()


async def test_a_claim_that_can_move_nothing_is_not_followed_by_another_at_once(
    database_url: str, database: Database, workspace_id: str
) -> None:
    """As when another claim has the endpoint in its hands, so that nothing can be held back."""
    await owe(database, workspace_id, LOOK)
    async with locked(database_url, "endpoints", "e" * 32):
        nothing = await database.writer.write(claim_deliveries, DueOrder(10, MINUTE, Rooms(0)))
        some = await database.writer.write(claim_deliveries, DueOrder(10, MINUTE, Rooms(1)))
    moved = database_url.startswith("sqlite")
    assert (nothing.deliveries, nothing.more) == ((), moved)
    assert (len(some.deliveries), some.more) == (1, not moved)


async def test_so_many_that_have_no_room_are_passed_in_steps(database: Database, workspace_id: str) -> None:
    busy = await owe(database, workspace_id, LOOK + 50, at=BUSY)
    (other,) = await owe(database, workspace_id, at=OTHER)
    await set_due(database, *busy, other)
    order = DueOrder(10, MINUTE, Rooms(1))
    first = await database.writer.write(claim_deliveries, order)
    second = await database.writer.write(claim_deliveries, order)
    assert ([due.id for due in first.deliveries], first.more) == ([busy[0]], True)
    assert {due.id for due in second.deliveries} == {busy[1], other}


@pytest.mark.parametrize(
    ("state", "stands"),
    [
        (State.PENDING, ("pending", True, False)),
        (State.DELIVERED, ("delivered", False, False)),
        (State.EXHAUSTED, ("exhausted", False, False)),
    ],
)
async def test_a_try_that_outlasted_its_lease_moves_a_delivery_that_was_held_meanwhile(
    database: Database, workspace_id: str, state: State, stands: tuple[str, bool, bool]
) -> None:
    """As when its worker was stopped for long, and another one found no room for it."""
    await owe(database, workspace_id)
    (due,) = await claim_due(database, lease_ms=EXPIRED)
    assert await claim_due(database, room=0) == []
    assert await states(database) == [("pending", 1, False, True)]
    late = attempt_result(due, state, status_code=500, pause_ms=MINUTE, call=Call.FAILED)
    assert (await record(database, late))[0].settled
    ((found, _, is_due, is_held),) = await states(database)
    assert (found, is_due, is_held) == stands
    assert await claim_due(database) == []
    assert await select(database, "SELECT failures FROM endpoints") == [(1,)]


async def test_what_is_held_though_nothing_is_owed_is_not_sent(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id)
    await claim_due(database, room=0)
    await execute(database, "UPDATE deliveries SET state = 'delivered'")
    assert await claim_due(database) == []


async def test_taking_up_waits_for_what_another_has_locked(
    database_url: str, database: Database, workspace_id: str
) -> None:
    """What was passed over would be forgotten, as nobody looks again at an endpoint that holds nothing."""
    (id,) = await owe(database, workspace_id)
    await claim_due(database, room=0)
    async with locked(database_url, "deliveries", id):
        claiming = asyncio.create_task(claim_due(database))
        await asyncio.sleep(0.3)
    found = [*await claiming, *await claim_due(database)]
    assert [due.id for due in found] == [id]


async def test_claims_that_hold_and_take_up_at_once_lose_nothing(
    database_url: str, tmp_path: Path, database: Database, workspace_id: str
) -> None:
    """Two processes with little room each: whatever one holds back, the other may take up."""
    ids = [id for at in "abcdef" for id in await owe(database, workspace_id, 20, at=at)]
    other = open_database(database_url, tmp_path)

    async def send_all(by: Database) -> list[str]:
        mine: list[str] = []
        while len(await select(by, "SELECT 1 FROM deliveries WHERE state = 'pending'")):
            for due in await claim_due(by, 5, room=2):
                mine.append(due.id)
                await record(by, attempt_result(due, call=Call.ANSWERED))
        return mine

    one, two = await asyncio.gather(send_all(database), send_all(other))
    await other.aclose()
    assert sorted(one + two) == sorted(ids)
    assert await select(database, "SELECT max(number), count(*) FROM attempts") == [(1, len(ids))]
    assert await select(database, "SELECT count(*) FROM deliveries WHERE held IS NOT NULL") == [(0,)]


async def test_a_claim_finds_what_is_due_and_what_is_held_by_their_indexes(
    database: Database, workspace_id: str
) -> None:
    await owe(database, workspace_id, 3)
    await claim_due(database, room=0)
    assert await select(database, "SELECT count(*) FROM deliveries WHERE held IS NOT NULL") == [(3,)]
    await execute(database, "UPDATE deliveries SET manual = true")
    await owe(database, workspace_id, 3)
    plans = await plans_of(database, claim_deliveries, DueOrder(4, MINUTE, Rooms()))
    for index in ("ix_endpoints_holding", "ix_endpoints_ready", "ix_endpoints_broken", "ix_deliveries_asked"):
        assert index in plans, plans
    plans = plans.replace("SCAN deliveries USING INDEX ix_deliveries_asked", "")  # its first entry alone
    # Both hold what is due and nothing else; for so few rows PostgreSQL takes either.
    assert "ix_deliveries_due" in plans or "ix_deliveries_owed" in plans
    assert_scans_no_table(plans)
    assert "SCAN endpoints\n" not in plans
