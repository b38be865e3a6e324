"""Crashes: what counts as one, who is guilty, and that nobody else pays for it."""

from __future__ import annotations

import asyncio

import pytest

from broker.store.claims import Careful, Claim, Claimed, ClaimOrder, claim_batches, overdue_batches
from broker.store.crashes import (
    GIVEN_UP_CODE,
    GIVEN_UP_TEXT,
    MAX_BLIND,
    MAX_DOUBTS,
    Announcement,
    Crash,
    Rescued,
    RescueOrder,
    announce_records,
    count_crashes,
    rescue_batches,
)
from broker.store.database import Database
from broker.store.results import Checkpoint, checkpoint_results
from tests.integration.store.rows import EXPIRED, FOR_EVER, MINUTE, TYPE, accept, claim, execute, rescue, result, select


async def standing(database: Database) -> tuple[str, int, int | None]:
    ((status, crashes, suspect),) = await select(database, "SELECT status, crashes, suspect FROM batches")
    return status, crashes, suspect


async def announce(database: Database, claimed: Claim, place: int) -> bool:
    return await database.writer.write(announce_records, Announcement(claimed.lease, place))


async def crash_of(database: Database, place: int | None, watched: bool = True, max_crashes: int = 3) -> Rescued:
    """One more worker claims the batch, announces a record and is gone; it was watched throughout."""
    (claimed,) = await claim(database, lease_ms=EXPIRED)
    if place is not None:
        assert await announce(database, claimed, place)
    ((until,),) = await select(database, "SELECT lease_until FROM batches")
    (rescued,) = await rescue(database, since=until - MINUTE + (0 if watched else 1), max_crashes=max_crashes)
    return rescued


async def results(database: Database) -> list[tuple[int, int, str]]:
    return await select(database, "SELECT position, code, text FROM results ORDER BY position")


async def test_the_record_that_takes_workers_down_gets_an_error_and_the_others_still_run(
    database: Database, workspace_id: str
) -> None:
    await accept(database, workspace_id, size=3)
    assert (await crash_of(database, None)).given_up is None
    assert (await crash_of(database, 1)).given_up is None
    assert (await crash_of(database, 1)).given_up == 1
    assert await results(database) == [(1, GIVEN_UP_CODE, GIVEN_UP_TEXT)]
    assert await standing(database) == ("CREATED", 1, None)
    (claimed,) = await claim(database)
    assert (claimed.careful, [one.index for one in claimed.results]) == (True, [1])


async def test_another_record_is_not_blamed_for_the_crashes_of_the_one_before(
    database: Database, workspace_id: str
) -> None:
    await accept(database, workspace_id, size=3)
    for place in (None, 0):
        await crash_of(database, place)
    assert await standing(database) == ("CREATED", 2, 0)
    assert (await crash_of(database, 1)).crashes == 2
    assert (await crash_of(database, 1)).given_up == 1


async def test_the_last_record_given_up_leaves_a_batch_that_needs_no_care(
    database: Database, workspace_id: str
) -> None:
    await accept(database, workspace_id, size=2)
    (claimed,) = await claim(database, lease_ms=EXPIRED)
    await database.writer.write(checkpoint_results, Checkpoint(claimed.lease, 1, (result(0),)))
    await rescue(database)
    await crash_of(database, 1)
    assert (await crash_of(database, 1)).given_up == 1
    assert await standing(database) == ("CREATED", 0, None)
    (claimed,) = await claim(database)
    assert (claimed.careful, [one.index for one in claimed.results]) == (False, [0, 1])


async def test_the_only_record_of_a_batch_is_known_without_being_announced(
    database: Database, workspace_id: str
) -> None:
    await accept(database, workspace_id, size=1)
    assert (await crash_of(database, None, max_crashes=1)).given_up == 0


async def test_of_several_records_none_is_guilty_before_it_was_announced(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id, size=2)
    assert (await crash_of(database, None, max_crashes=1)).given_up is None
    assert (await crash_of(database, 0, max_crashes=1)).given_up == 0


async def test_a_batch_that_never_comes_to_a_record_has_an_end_all_the_same(
    database: Database, workspace_id: str
) -> None:
    await accept(database, workspace_id, size=3)
    for _ in range(3 + MAX_BLIND - 1):
        assert (await crash_of(database, None)).given_up is None
    assert [(await crash_of(database, None)).given_up for _ in range(3)] == [0, 1, 2]
    assert [position for position, _, _ in await results(database)] == [0, 1, 2]
    assert await standing(database) == ("CREATED", 0, None)


async def test_a_record_is_not_blamed_for_crashes_before_it_was_announced(
    database: Database, workspace_id: str
) -> None:
    await accept(database, workspace_id, size=2)
    for _ in range(5):
        await crash_of(database, None)
    assert (await crash_of(database, 0)).given_up is None
    assert (await crash_of(database, 0)).given_up == 0


async def test_a_record_that_is_checkpointed_is_not_guilty_of_what_came_after(
    database: Database, workspace_id: str
) -> None:
    """The announced one ended well, and the worker died before it announced the next."""
    await accept(database, workspace_id, size=3)
    await crash_of(database, None)
    await crash_of(database, 0)
    (claimed,) = await claim(database, lease_ms=EXPIRED)
    await announce(database, claimed, 0)
    await database.writer.write(checkpoint_results, Checkpoint(claimed.lease, 1, (result(0),)))
    (rescued,) = await rescue(database)
    assert rescued.given_up is None
    assert [code for _, code, _ in await results(database)] == [200]


async def test_a_lease_that_nobody_watched_throughout_is_a_reason_for_care_and_no_crash(
    database: Database, workspace_id: str
) -> None:
    await accept(database, workspace_id, size=1)
    for _ in range(4):
        rescued = await crash_of(database, None, watched=False, max_crashes=2)
        assert (rescued.crashes, rescued.given_up) == (1, None)
    assert await results(database) == []


async def test_an_announced_record_has_an_end_even_where_the_watchers_die_with_it(
    database: Database, workspace_id: str
) -> None:
    await accept(database, workspace_id, size=2)
    """Their leases end unwatched each time, so it takes more of them than of crashes that were seen."""
    await crash_of(database, None, watched=False)
    for _ in range(MAX_DOUBTS - 1):
        rescued = await crash_of(database, 0, watched=False, max_crashes=2)
        assert (rescued.crashes, rescued.given_up) == (1, None)
    assert (await crash_of(database, 0, watched=False, max_crashes=2)).given_up == 0


async def test_doubts_about_one_record_are_not_those_about_the_next(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id, size=2)
    await crash_of(database, None, watched=False)
    for place in (0, 1):
        for _ in range(MAX_DOUBTS - 1):
            assert (await crash_of(database, place, watched=False)).given_up is None
    assert (await crash_of(database, 1, watched=False)).given_up == 1


async def test_doubts_end_with_the_record_that_is_given_up(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id, size=3)
    await crash_of(database, None, watched=False)
    for _ in range(MAX_DOUBTS - 1):
        await crash_of(database, 0, watched=False)
    assert (await crash_of(database, 0, watched=False)).given_up == 0
    assert await select(database, "SELECT doubts FROM batches") == [(0,)]


async def test_a_lease_is_watched_when_it_began_after_the_watching(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id, 2, size=2)
    await claim(database, lease_ms=EXPIRED)
    order = RescueOrder(10, lease_ms=1000, since=4000, until=FOR_EVER, max_crashes=9)
    ids = sorted(id for (id,) in await select(database, "SELECT id FROM batches"))
    await execute(
        database, "UPDATE batches SET lease_until = 5000, crashes = 1 WHERE CAST(id AS text) = :id", id=ids[0]
    )
    await execute(
        database, "UPDATE batches SET lease_until = 4999, crashes = 1 WHERE CAST(id AS text) = :id", id=ids[1]
    )
    look = await database.writer.write(rescue_batches, order)
    assert [(batch.id, batch.crashes) for batch in look.rescued] == [(ids[0], 2), (ids[1], 1)]


async def test_a_failure_inside_the_worker_counts_as_a_crash(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id, size=1)
    (claimed,) = await claim(database)
    rescued = await database.writer.write(count_crashes, Crash(claimed.lease, 10 * MINUTE, 3))
    assert rescued == Rescued(claimed.id, TYPE, 1, None)
    ((pause,),) = await select(database, "SELECT due - modified FROM batches")
    assert pause > 9 * MINUTE
    await execute(database, "UPDATE batches SET due = 0")
    (claimed,) = await claim(database)
    rescued = await database.writer.write(count_crashes, Crash(claimed.lease, 10 * MINUTE, 2))
    assert rescued == Rescued(claimed.id, TYPE, 2, 0)
    assert [again.id for again in await claim(database)] == [claimed.id]


async def test_a_stale_lease_neither_announces_nor_counts(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id, size=2)
    (stale,) = await claim(database, lease_ms=EXPIRED)
    await rescue(database)
    (fresh,) = await claim(database)
    before = await standing(database)
    assert await announce(database, stale, 1) is False
    assert await database.writer.write(count_crashes, Crash(stale.lease, 0, 1)) is None
    assert await standing(database) == before
    told = await asyncio.gather(announce(database, stale, 1), announce(database, fresh, 0))
    assert tuple(told) == (False, True)
    assert (await standing(database))[2] == 0


@pytest.mark.parametrize("idle", [True, False])
async def test_a_batch_that_took_a_worker_down_comes_alone_and_to_an_idle_worker(
    database: Database, workspace_id: str, idle: bool
) -> None:
    await accept(database, workspace_id, 3)
    (victim,) = await accept(database, workspace_id, size=2)
    await execute(database, "UPDATE batches SET crashes = 1 WHERE size = 2")
    claimed = await database.writer.write(claim_batches, ClaimOrder("worker", (TYPE,), 8, MINUTE, idle))
    assert not claimed.makes_room
    assert [claim.careful for claim in claimed.claims] == ([True] if idle else [False] * 3)
    assert (victim in {claim.id for claim in claimed.claims}) is idle


async def test_a_busy_worker_makes_room_for_a_batch_that_waits_for_an_idle_one(
    database: Database, workspace_id: str
) -> None:
    await accept(database, workspace_id, 3)
    await execute(
        database, "UPDATE batches SET crashes = 1, due = due - 10000 WHERE id = (SELECT id FROM batches LIMIT 1)"
    )
    busy = ClaimOrder("busy", (TYPE,), 8, MINUTE, idle=False)
    assert await database.writer.write(claim_batches, busy) == Claimed(makes_room=True)
    assert len(await claim(database)) == 1
    assert len((await database.writer.write(claim_batches, busy)).claims) == 2


async def test_a_worker_that_took_one_with_care_serves_the_others_first(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id, 4)
    await execute(database, "UPDATE batches SET crashes = 1 WHERE id IN (SELECT id FROM batches ORDER BY id LIMIT 3)")
    order = ClaimOrder("worker", (TYPE,), 8, MINUTE, idle=True, careful=Careful.LAST)
    claims = [(await database.writer.write(claim_batches, order)).claims for _ in range(3)]
    assert [[claim.careful for claim in some] for some in claims] == [[False], [True], [True]]


@pytest.mark.parametrize("hindrance", ["due = due + 1000000", "status = 'PAUSED'", "type = 'another'"])
async def test_what_cannot_be_claimed_makes_nobody_wait(database: Database, workspace_id: str, hindrance: str) -> None:
    await accept(database, workspace_id, 2)
    await execute(
        database, "UPDATE batches SET crashes = 1, due = due - 10000 WHERE id = (SELECT id FROM batches LIMIT 1)"
    )
    await execute(database, f"UPDATE batches SET {hindrance} WHERE crashes = 1")
    busy = ClaimOrder("busy", (TYPE,), 8, MINUTE, idle=False)
    assert len((await database.writer.write(claim_batches, busy)).claims) == 1


@pytest.mark.parametrize("idle", [True, False])
async def test_batches_of_a_paused_workspace_neither_come_nor_make_anybody_wait(
    database: Database, workspace_id: str, idle: bool
) -> None:
    await accept(database, workspace_id, 2)
    await execute(
        database, "UPDATE batches SET crashes = 1, due = due - 10000 WHERE id = (SELECT id FROM batches LIMIT 1)"
    )
    await execute(database, "UPDATE workspaces SET paused = true")
    order = ClaimOrder("worker", (TYPE,), 8, MINUTE, idle)
    assert await database.writer.write(claim_batches, order) == Claimed()
    async with database.reading() as connection:
        assert await overdue_batches(connection, 1000, 10) == []
    await execute(database, "UPDATE workspaces SET paused = false")
    async with database.reading() as connection:
        assert len(await overdue_batches(connection, 1000, 10)) == 1


async def test_who_has_not_watched_for_a_whole_lease_or_comes_late_frees_nothing(
    database: Database, workspace_id: str
) -> None:
    await accept(database, workspace_id)
    await claim(database, lease_ms=EXPIRED)

    async def look(since: int, until: int) -> int:
        order = RescueOrder(10, MINUTE, since, until, 3)
        seen = await database.writer.write(rescue_batches, order)
        assert seen.now > 1_700_000_000_000
        return len(seen.rescued)

    ((now,),) = await select(database, "SELECT created FROM batches")
    assert await look(now, FOR_EVER) == 0
    assert await look(now - 2 * MINUTE, now - 1) == 0
    assert await look(0, 0) == 0
    assert await look(now - 2 * MINUTE, now + MINUTE) == 1
