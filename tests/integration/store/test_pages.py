"""A page of a list is what ORDER BY, OFFSET and COUNT say, wherever its batches lie."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from broker.batches import Outcome, Status, new_id
from broker.store.batches import list_batches
from broker.store.database import Database
from broker.store.pages import FEW
from broker.store.tallies import BatchFilter
from broker.store.tally_triggers import STRETCH_BITS
from broker.store.workspaces import NewWorkspace, insert_workspaces
from tests.integration.store.rows import accept, execute, select

SIZE = 7
STATES: Sequence[tuple[Status, Outcome | None]] = (
    *((status, None) for status in Status if status is not Status.DONE),
    *((Status.DONE, outcome) for outcome in Outcome),
)
FILTERS: Sequence[dict[str, Any]] = (
    {},
    {"dialects": ("ximilar",)},
    {"types": ("upscaler",)},
    {"types": ("upscaler", "flow"), "dialects": ("claid",)},
    {"statuses": (Status.DONE,)},
    {"statuses": (Status.CREATED, Status.PAUSED), "types": ("flow",)},
    {"outcomes": (Outcome.FAILED, Outcome.PARTIAL)},
    {"outcomes": (Outcome.FAILED,), "statuses": (Status.DONE, Status.CREATED)},
    {"outcomes": (Outcome.FAILED,), "statuses": (Status.CREATED,)},
    {"types": ("unknown",)},
)

FAR = 1 << 40
"""Behind every number that a database has given by itself, which goes on from test to test."""


@pytest.fixture
async def workspaces(database: Database, workspace_id: str) -> tuple[str, str]:
    """Two with 60 batches each, of any kind and state, some of them children, strewn over 30 stretches."""
    other = NewWorkspace(new_id(), "other", b"")
    await database.writer.write(insert_workspaces, other)
    both = (workspace_id, other.id)
    picked = random.Random(3)
    places = picked.sample(range(30 << STRETCH_BITS), 120)
    kinds = [(type, dialect) for type in ("upscaler", "flow") for dialect in ("ximilar", "claid")]
    ids = [
        (await accept(database, both[number % 2], 1, type=type, dialect=dialect))[0]
        for number, (type, dialect) in enumerate(picked.choices(kinds, k=120))
    ]
    for number, (id, place) in enumerate(zip(ids, places, strict=True)):
        status, outcome = picked.choice(STATES)
        values = {"id": id, "seq": FAR + place, "status": status, "outcome": outcome}
        parent = {"parent": ids[number - 10], "ordinal": number} if number in range(20, 30) else {}
        family = ", parent_id = :parent, ordinal = :ordinal" if parent else ""
        await execute(
            database,
            f"UPDATE batches SET seq = :seq, status = :status, outcome = :outcome{family} WHERE id = :id",
            **values,
            **parent,
        )
    return both


async def ids_in_order(database: Database, which: BatchFilter) -> list[str]:
    columns = "id, workspace_id, status, type, dialect, outcome"
    rows = await select(database, f"SELECT {columns} FROM batches WHERE parent_id IS NULL ORDER BY seq DESC")
    wanted = [which.workspaces, which.statuses, which.types, which.dialects, which.outcomes]
    return [
        row[0]
        for row in rows
        if all(values is None or value in values for value, values in zip(row[1:], wanted, strict=True))
    ]


async def assert_pages(database: Database, which: BatchFilter) -> None:
    expected = await ids_in_order(database, which)
    async with database.reading() as connection:
        for offset in range(0, len(expected) + SIZE, SIZE):
            count, page = await list_batches(connection, which, offset, SIZE)
            assert [head.id for head in page] == expected[offset : offset + SIZE]
            assert count == (len(expected) if page else 0)


@pytest.mark.parametrize("crowded", [False, True], ids=["little_between", "much_between"])
async def test_pages_are_what_a_scan_says(database: Database, workspaces: tuple[str, str], crowded: bool) -> None:
    """Much between: the stretches of a page are read one by one."""
    if crowded:
        await execute(
            database,
            "INSERT INTO tallies SELECT id, 15, 'another', 'another', false, 0, 0, 0, 0, :few, 0, 0, 0 FROM workspaces",
            few=2 * FEW,
        )
    for more in FILTERS if not crowded else [{"types": ("upscaler", "flow"), **one} for one in FILTERS]:
        await assert_pages(database, BatchFilter(workspaces[:1], **more))
        await assert_pages(database, BatchFilter(workspaces, **more))
