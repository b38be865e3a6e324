"""Claims: by rank over types, up to a limit, never twice, never of the paused or the not yet due."""

from __future__ import annotations

import asyncio
import itertools
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection

from broker.batches import Status, new_id
from broker.store.batches import find_batch
from broker.store.claims import Claim, Claimed, ClaimOrder, PassedOver, claim_batches
from broker.store.database import Database, open_database
from broker.store.leases import GiveBack, give_back_batches
from broker.store.results import Checkpoint, checkpoint_results
from broker.store.workspaces import NewWorkspace, insert_workspaces
from broker.store.writer import PATIENCE
from tests.integration.store.ended import plans_of, recorded
from tests.integration.store.rows import (
    EXPIRED,
    MINUTE,
    TYPE,
    accept,
    claim,
    execute,
    new_workspace,
    rescue,
    result,
    select,
)


async def rank(database: Database, id: str, value: int) -> None:
    await execute(database, "UPDATE batches SET rank = :value WHERE id = :id", value=value, id=id)


async def test_the_lowest_rank_over_all_types_comes_first(database: Database, workspace_id: str) -> None:
    order = ["a", "b", "a", "c", "b", "a"]
    expected: list[str] = []
    for place, type in enumerate(order):
        (id,) = await accept(database, workspace_id, type=type)
        await rank(database, id, 100 - place)
        expected.insert(0, id)
    first = await claim(database, 4, types=("a", "b", "c"))
    rest = await claim(database, 4, types=("a", "b", "c"))
    assert [claimed.id for claimed in first] == expected[:4]
    assert [claimed.id for claimed in rest] == expected[4:]


async def test_equal_ranks_go_by_id(database: Database, workspace_id: str) -> None:
    ids = await accept(database, workspace_id, 20)
    await execute(database, "UPDATE batches SET rank = 7")
    assert [claimed.id for claimed in await claim(database, 20)] == ids


async def test_other_types_are_left_alone(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id, type="flow")
    (mine,) = await accept(database, workspace_id)
    assert [claimed.id for claimed in await claim(database, types=(TYPE, "card_grader"))] == [mine]


@pytest.mark.parametrize("types", [(TYPE,), (TYPE, "flow")])
@pytest.mark.parametrize("limit", [0, 1, 7, 1000])
async def test_no_more_than_the_limit_is_claimed(
    database: Database, workspace_id: str, limit: int, types: tuple[str, ...]
) -> None:
    for type in types:
        await accept(database, workspace_id, 10, type=type)
    total = 10 * len(types)
    assert len(await claim(database, limit, types=types)) == min(limit, total)
    processing = await select(database, "SELECT count(*) FROM batches WHERE status = 'PROCESSING'")
    assert processing == [(min(limit, total),)]


async def test_a_claim_carries_the_batch_and_its_lease(database: Database, workspace_id: str) -> None:
    (id,) = await accept(database, workspace_id, params='{"quality": 80}')
    (claimed,) = await claim(database, owner="worker 1", lease_ms=MINUTE)
    stored = await select(database, "SELECT lease_owner, lease_until - modified, status FROM batches")
    assert claimed.batch.params == {"quality": 80}
    assert claimed.batch.status is Status.PROCESSING
    assert (claimed.lease.batch, claimed.lease.seq) == (id, 1)
    assert claimed.results == ()
    assert stored[0][0] == "worker 1"
    assert MINUTE - 1000 < stored[0][1] <= MINUTE
    async with database.reading() as connection:
        assert await find_batch(connection, id) == claimed.batch


async def test_looking_for_a_batch_that_needs_care_searches_no_others(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id, 100)
    plans = await plans_of(database, claim_batches, ClaimOrder("worker", (TYPE, "flow"), 1, MINUTE))
    assert "ix_batches_crashed" in plans


async def test_a_paused_workspace_is_not_claimed_but_others_are(database: Database, workspace_id: str) -> None:
    other = NewWorkspace(id=new_id(), name="other", secrets=b"")
    await database.writer.write(insert_workspaces, other)
    paused = await accept(database, workspace_id, 3)
    free = await accept(database, other.id, 3)
    await execute(database, "UPDATE workspaces SET paused = true WHERE id = :id", id=workspace_id)
    assert [claimed.id for claimed in await claim(database, 2)] == free[:2]
    await execute(database, "UPDATE workspaces SET paused = false WHERE id = :id", id=workspace_id)
    assert [claimed.id for claimed in await claim(database)] == [*paused, free[2]]


MANY = 2000


async def looked(database: Database, order: ClaimOrder) -> tuple[tuple[Claim, ...], PassedOver | None, int]:
    """What a claim brought, and how much the database had to look at: SQLite's steps, or PostgreSQL's rows."""

    def look(connection: Connection, orders: Sequence[ClaimOrder]) -> list[tuple[Claimed, int]]:
        effort = steps_of if connection.dialect.name == "sqlite" else rows_of
        return [effort(connection, one) for one in orders]

    claimed, effort = await database.writer.write(look, order)
    return claimed.claims, claimed.passed_over, effort


def steps_of(connection: Connection, order: ClaimOrder) -> tuple[Claimed, int]:
    raw, steps = connection.connection.dbapi_connection, itertools.count()
    assert isinstance(raw, sqlite3.Connection)
    raw.set_progress_handler(lambda: next(steps) < 0, 1)
    (claimed,) = claim_batches(connection, [order])
    raw.set_progress_handler(None, 0)
    return claimed, next(steps)


def rows_of(connection: Connection, order: ClaimOrder) -> tuple[Claimed, int]:
    with connection.begin_nested() as tried, recorded(connection) as seen:
        claim_batches(connection, [order])
        tried.rollback()
    (statement, parameters) = next(one for one in seen if one[0].startswith("UPDATE"))
    connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    with connection.begin_nested() as tried:
        plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {statement}", parameters)
        found = "\n".join(plan.scalars())
        tried.rollback()
    (claimed,) = claim_batches(connection, [order])
    return claimed, sum(map(int, re.findall(r"Rows Removed by Filter: (\d+)", found)))


async def test_a_look_that_took_long_tells_from_where_on_the_next_has_to_look(
    database: Database, workspace_id: str
) -> None:
    """However many batches of a paused workspace wait, they are not passed over one by one at each look."""
    paused = await new_workspace(database, "paused")
    await execute(database, "UPDATE workspaces SET paused = true WHERE id = :id", id=paused)
    hidden = await accept(database, paused, MANY)
    await execute(database, "UPDATE batches SET rank = 1")
    old, older, *fresh = await accept(database, workspace_id, 4)
    await rank(database, old, 3)
    await rank(database, older, 2)
    order = ClaimOrder("worker", (TYPE, "flow"), 1, MINUTE, long_seconds=0)
    for expected in (older, old, *fresh):
        (claimed,), passed, effort = await looked(database, order)
        assert claimed.id == expected
        assert passed is not None
        assert effort >= MANY if order.rank == 0 else effort < MANY / 2
        order = replace(order, rank=passed.rank)
    assert order.rank > 3
    (late,) = await accept(database, workspace_id)
    await execute(database, "UPDATE batches SET rank = rank - :ms WHERE id = :id", ms=int(PATIENCE * 1000), id=late)
    assert [one.id for one in (await looked(database, order))[0]] == [late]  # as if its commit had waited
    await execute(database, "UPDATE workspaces SET paused = false")
    assert (await looked(database, order))[0] == ()
    assert [one.id for one in await claim(database, MANY)] == hidden


async def test_a_look_that_took_no_time_tells_of_nothing_that_it_passed_over(
    database: Database, workspace_id: str
) -> None:
    await accept(database, workspace_id)
    claimed = await database.writer.write(claim_batches, ClaimOrder("worker", (TYPE,), 1, MINUTE, long_seconds=MINUTE))
    assert len(claimed.claims) == 1
    assert claimed.passed_over is None


async def test_a_batch_that_is_not_due_yet_is_not_claimed(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id)
    await execute(database, "UPDATE batches SET due = due + :later", later=10 * MINUTE)
    assert await claim(database) == []
    await execute(database, "UPDATE batches SET due = due - :later", later=10 * MINUTE)
    assert len(await claim(database)) == 1


@pytest.mark.parametrize("status", [Status.PROCESSING, Status.PAUSED, Status.DONE])
async def test_only_created_batches_are_claimed(database: Database, workspace_id: str, status: Status) -> None:
    await accept(database, workspace_id)
    outcome = "'failed'" if status is Status.DONE else "NULL"
    await execute(database, f"UPDATE batches SET status = '{status}', outcome = {outcome}")
    assert await claim(database) == []


async def test_two_claimers_never_get_the_same_batch(
    database_url: str, tmp_path: Path, database: Database, workspace_id: str
) -> None:
    other = open_database(database_url, tmp_path)
    batches = await accept(database, workspace_id, 120)
    await accept(database, workspace_id, 80, type="flow")

    async def claim_all(by: Database, owner: str) -> list[Claim]:
        mine: list[Claim] = []
        while some := await claim(by, 3, types=(TYPE, "flow"), owner=owner):
            mine += some
        return mine

    one, two = await asyncio.gather(claim_all(database, "one"), claim_all(other, "two"))
    await other.aclose()
    claimed = [claim.id for claim in one + two]
    assert len(claimed) == len(set(claimed)) == 200
    assert set(batches) < set(claimed)
    owners = dict(await select(database, "SELECT id, lease_owner FROM batches"))
    assert {owners[claim.id] for claim in one} == {"one"}
    assert {owners[claim.id] for claim in two} == {"two"}


async def test_claimers_in_one_group_never_get_the_same_batch(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id, 10)
    claims = await asyncio.gather(*[claim(database, 3, owner=str(n)) for n in range(5)])
    assert [len(some) for some in claims] == [3, 3, 3, 1, 0]
    assert len({claimed.id for some in claims for claimed in some}) == 10


async def test_every_claim_raises_the_fencing_number_and_nothing_resets_it(
    database: Database, workspace_id: str
) -> None:
    await accept(database, workspace_id)
    for seq in range(1, 7):
        (claimed,) = await claim(database, lease_ms=EXPIRED)
        assert claimed.lease.seq == seq
        if seq % 2:
            assert await database.writer.write(give_back_batches, GiveBack(claimed.lease))
        else:
            assert len(await rescue(database)) == 1
        assert await select(database, "SELECT lease_seq, status FROM batches") == [(seq, "CREATED")]


async def test_a_later_claim_brings_the_results_of_earlier_ones(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id)
    (first,) = await claim(database, lease_ms=EXPIRED)
    kept = (result(2, width=5), result(0, code=404))
    assert await database.writer.write(checkpoint_results, Checkpoint(first.lease, 1, kept))
    await rescue(database)
    (again,) = await claim(database)
    assert [(one.index, one.code, one.facts) for one in again.results] == [(0, 404, {}), (2, 200, {"width": 5})]
    assert {one.request_id for one in again.results} == {one.request_id for one in kept}
    assert all(one.finished for one in again.results)
