"""Leases: a beat extends, a give-back returns, the sweep rescues what is over."""

from __future__ import annotations

import asyncio

from broker.store.claims import Claim, overdue_batches
from broker.store.database import Database
from broker.store.ends import finish_batches
from broker.store.leases import Beat, GiveBack, Lease, Strays, extend_leases, give_back_batches, return_strays
from tests.integration.store.rows import (
    EXPIRED,
    MINUTE,
    accept,
    claim,
    execute,
    finish,
    rescue,
    result,
    select,
)


async def give_back(database: Database, claimed: Claim) -> bool:
    return await database.writer.write(give_back_batches, GiveBack(claimed.lease))


async def test_a_stale_finish_in_the_group_of_the_fresh_one_writes_nothing(
    database: Database, workspace_id: str
) -> None:
    await accept(database, workspace_id)
    (stale,) = await claim(database, lease_ms=EXPIRED)
    await rescue(database)
    (fresh,) = await claim(database)
    ends = [finish(stale, result(0, code=500)), finish(fresh, result(1)), finish(stale, result(2, code=500))]
    told = await asyncio.gather(*[database.writer.write(finish_batches, one) for one in ends])
    assert list(map(bool, told)) == [False, True, False]
    assert await select(database, "SELECT position, lease_seq FROM results") == [(1, 2)]


async def test_a_stale_give_back_in_the_group_of_the_fresh_one_is_told(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id)
    (stale,) = await claim(database, lease_ms=EXPIRED)
    await rescue(database)
    (fresh,) = await claim(database)
    assert await asyncio.gather(*[give_back(database, one) for one in (stale, fresh)]) == [False, True]


async def test_a_beat_extends_what_is_held_and_leaves_out_what_is_lost(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id, 3)
    one, two, three = await claim(database, lease_ms=EXPIRED)
    await give_back(database, two)
    leases = (one.lease, two.lease, three.lease, Lease(one.id, 99))
    assert await database.writer.write(extend_leases, Beat("worker", leases, MINUTE)) == {one.lease, three.lease}
    assert await rescue(database) == []


async def test_a_beat_of_another_owner_extends_nothing(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id)
    (claimed,) = await claim(database, owner="worker 1")
    beat = Beat("worker 2", (claimed.lease,), MINUTE)
    assert await database.writer.write(extend_leases, beat) == frozenset()


async def test_only_an_owners_own_older_and_unknown_leases_are_strays(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id, 2, type="known")
    await accept(database, workspace_id, 2, type="stray")
    await accept(database, workspace_id, type="young")
    await accept(database, workspace_id, type="theirs")
    known = await claim(database, types=("known",))
    await claim(database, types=("stray", "young"))
    await claim(database, types=("theirs",), owner="another")
    await execute(database, "UPDATE batches SET lease_until = lease_until - 30000 WHERE type <> 'young'")
    order = Strays("worker", (known[0].lease, Lease(known[1].id, 99)), MINUTE, age_ms=20_000)
    returned = await database.writer.write(return_strays, order)
    assert sorted(type for type, _ in returned) == ["known", "stray", "stray"]
    rows = await select(database, "SELECT type, status, crashes, lease_owner FROM batches ORDER BY type, status")
    assert rows == [
        ("known", "CREATED", 0, None),
        ("known", "PROCESSING", 0, "worker"),
        ("stray", "CREATED", 0, None),
        ("stray", "CREATED", 0, None),
        ("theirs", "PROCESSING", 0, "another"),
        ("young", "PROCESSING", 0, "worker"),
    ]


async def test_a_beat_without_leases_is_fine(database: Database) -> None:
    assert await database.writer.write(extend_leases, Beat("worker", (), MINUTE)) == frozenset()


async def test_an_owner_that_claimed_a_batch_again_does_not_extend_its_older_lease(
    database: Database, workspace_id: str
) -> None:
    await accept(database, workspace_id)
    (older,) = await claim(database)
    await give_back(database, older)
    (newer,) = await claim(database)
    beat = Beat("worker", (older.lease, newer.lease), MINUTE)
    assert await database.writer.write(extend_leases, beat) == {newer.lease}


async def test_a_batch_given_back_with_a_pause_is_due_after_it(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id)
    (claimed,) = await claim(database)
    assert await database.writer.write(give_back_batches, GiveBack(claimed.lease, pause_ms=10 * MINUTE))
    ((pause, crashes, owner, until),) = await select(
        database, "SELECT due - modified, crashes, lease_owner, lease_until FROM batches"
    )
    assert 10 * MINUTE - 1000 < pause <= 10 * MINUTE
    assert (crashes, owner, until) == (0, None, None)
    assert await claim(database) == []


async def test_a_batch_given_back_without_a_pause_is_due_at_once(database: Database, workspace_id: str) -> None:
    (id,) = await accept(database, workspace_id)
    (claimed,) = await claim(database)
    await give_back(database, claimed)
    assert [again.id for again in await claim(database)] == [id]


async def test_only_leases_that_are_over_are_rescued(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id, 2, type="held")
    over = await accept(database, workspace_id, 3, type="over")
    await accept(database, workspace_id, type="waiting")
    await claim(database, types=("held",))
    await claim(database, types=("over",), lease_ms=EXPIRED)
    assert sorted((batch.type, batch.id) for batch in await rescue(database)) == [("over", id) for id in over]
    statuses = await select(database, "SELECT DISTINCT type, status, crashes FROM batches ORDER BY type")
    assert statuses == [("held", "PROCESSING", 0), ("over", "CREATED", 1), ("waiting", "CREATED", 0)]
    assert await rescue(database) == []


async def test_a_rescue_keeps_to_its_limit(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id, 5)
    await claim(database, lease_ms=EXPIRED)
    assert [len(await rescue(database, 2)) for _ in range(4)] == [2, 2, 1, 0]


async def test_only_batches_that_wait_too_long_are_overdue(database: Database, workspace_id: str) -> None:
    late = await accept(database, workspace_id, 3)
    await execute(database, "UPDATE batches SET due = due - :late", late=2 * MINUTE)
    await accept(database, workspace_id, 2, type="fresh")
    await accept(database, workspace_id, type="claimed")
    await execute(database, "UPDATE batches SET due = due - :late WHERE type = 'claimed'", late=2 * MINUTE)
    await claim(database, types=("claimed",))
    async with database.reading() as connection:
        assert await overdue_batches(connection, MINUTE, 10) == [("upscaler", id) for id in late]
        assert await overdue_batches(connection, MINUTE, 2) == [("upscaler", id) for id in late[:2]]
        assert await overdue_batches(connection, 3 * MINUTE, 10) == []


async def test_a_parent_that_waits_for_its_children_is_not_rescued(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id)
    await execute(database, "UPDATE batches SET status = 'PROCESSING', pending = 3")
    assert await rescue(database) == []
