"""What a bulk retry walks over: batches that ended within its bounds, both included, in the order of their ends."""

from __future__ import annotations

import pytest

from broker.batches import Outcome
from broker.store.database import Database
from broker.store.retries import EndedBatch, EndedFilter, ended_batches
from tests.integration.store.ended import ended
from tests.integration.store.rows import accept, execute

SINCE, UNTIL = 1_000, 2_000
TIMES = (SINCE - 1, SINCE, SINCE + 1, UNTIL - 1, UNTIL, UNTIL + 1)


@pytest.fixture
async def ends(database: Database, workspace_id: str) -> dict[int, str]:
    """When batches ended, the last ones first accepted -> their ids; one more waits."""
    ids = await ended(database, workspace_id, len(TIMES))
    by_time = dict(zip(reversed(TIMES), ids, strict=True))
    for finished, id in by_time.items():
        await execute(database, "UPDATE batches SET finished = :finished WHERE id = :id", finished=finished, id=id)
    await accept(database, workspace_id)
    return by_time


async def look(
    database: Database, workspace: str, after: EndedBatch | None = None, limit: int = 100
) -> list[EndedBatch]:
    which = EndedFilter(workspace, (Outcome.SUCCEEDED,), SINCE, UNTIL)
    async with database.reading() as connection:
        return await ended_batches(connection, which, after, limit)


async def test_both_bounds_are_among_what_is_walked_over_and_nothing_beyond(
    database: Database, workspace_id: str, ends: dict[int, str]
) -> None:
    within = [time for time in TIMES if SINCE <= time <= UNTIL]
    assert await look(database, workspace_id) == [EndedBatch(ends[time], time, True) for time in within]


@pytest.mark.parametrize("limit", [1, 3])
async def test_a_walk_in_chunks_ends_at_the_upper_bound(
    database: Database, workspace_id: str, ends: dict[int, str], limit: int
) -> None:
    walked: list[EndedBatch] = []
    while chunk := await look(database, workspace_id, walked[-1] if walked else None, limit):
        assert len(chunk) <= limit
        walked += chunk
    assert walked == await look(database, workspace_id)
