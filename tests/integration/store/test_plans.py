"""No claim and no sweep reads what is over: each access is by an index of live rows, or by the ids of some rows.

`make plans` asks at a million rows; here it is a few thousand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.rows_in_sql import CHUNK, fill
from broker.batches import Record, Status
from broker.deliveries import State
from broker.endpoints import Call
from broker.store.attempts import Report, record_attempts
from broker.store.batches import list_batches
from broker.store.children import complete_parent_ids
from broker.store.chores import Turn, take_turn
from broker.store.claims import Careful, ClaimOrder, claim_batches, overdue_batches
from broker.store.crashes import Announcement, Crash, RescueOrder, announce_records, count_crashes, rescue_batches
from broker.store.database import Database
from broker.store.deliveries import DueOrder, claim_deliveries
from broker.store.ended import Place
from broker.store.ends import finish_batches
from broker.store.expiry import Expire, Kind, expire_blobs
from broker.store.keys import forget_keys
from broker.store.leases import (
    Beat,
    GiveBack,
    Strays,
    extend_leases,
    give_back_batches,
    return_strays,
)
from broker.store.put_back import put_back_deliveries
from broker.store.retention import Prune, prunable_batches, prune_batches
from broker.store.rows import dump_records
from broker.store.tables import METADATA
from broker.store.tallies import BatchFilter
from broker.store.unserved import unserved_types
from tests.integration.store.accesses import Access, accesses
from tests.integration.store.ended import recorded
from tests.integration.store.rows import (
    EXPIRED,
    FOR_EVER,
    MINUTE,
    TYPE,
    Rooms,
    accept,
    attempt_result,
    claim,
    claim_due,
    delivery,
    execute,
    finish,
    owe,
    result,
)

Step: TypeAlias = Callable[[Connection], Any]
Read: TypeAlias = Callable[[AsyncConnection], Awaitable[Any]]
ROWS = int(os.environ.get("PLANS_ROWS", "3000"))
ENOUGH = 100_000
TABLES = {"batches", "deliveries", "results", "attempts", "pictures", "endpoints", "parent", "child", "children"}
LIVE = {
    "ix_batches_claim",
    "ix_batches_crashed",
    "ix_batches_lease",
    "ix_batches_complete",
    "ix_batches_keyed",
    "ix_deliveries_due",
    "ix_deliveries_held",
    "ix_deliveries_asked",
    "ix_deliveries_owed",
    "ix_endpoints_holding",
    "ix_endpoints_ready",
    "ix_endpoints_broken",
}
ENDED = "ix_batches_ended"
"""By which the oldest of what is over is found, from a place on."""
READS: dict[str, Read] = {
    "overdue": lambda connection: overdue_batches(connection, 0, 100),
    "complete parents": lambda connection: complete_parent_ids(connection, 100, None),
    "unserved": lambda connection: unserved_types(connection, 0),
}
SMALL = {"records": dump_records((Record("1", small=True),)), "pictures": {0: b"picture"}}
"""A batch with a small picture."""

_ENDPOINT = "substr(CAST(id AS TEXT), 35) || CAST(id AS TEXT)"
"""As random as ids of endpoints are."""
_DELIVERED = """
    INSERT INTO deliveries (
        id, workspace_id, batch_id, run, event, endpoint, target, body, state, attempts, step, hurried, manual,
        lease_seq, created, finished
    )
    SELECT id, workspace_id, id, 1, 'done', ENDPOINT, :box, :box, 'delivered', 1, 1, false, false, 1, created, finished
    FROM batches WHERE created >= :first AND created < :end AND status = 'DONE'
"""
_TRIES = """
    INSERT INTO attempts (delivery_id, number, manual, started)
    SELECT id, 1, false, created FROM batches WHERE created >= :first AND created < :end AND status = 'DONE'
"""
_PICTURES = """
    INSERT INTO pictures (batch_id, position, data)
    SELECT id, 0, :box FROM batches WHERE created >= :first AND created < :end AND status = 'DONE'
"""
_ENDPOINTS = """
    INSERT INTO endpoints (id, workspace_id, origin, place, state, since, failures, recent, holding, created)
    SELECT ENDPOINT, workspace_id, 'https://e.example', :box, 'healthy', created, 0, '[]', false, created
    FROM batches WHERE created >= :first AND created < :end AND status = 'DONE'
"""


@pytest.fixture
async def full(database: Database, database_url: str, workspace_id: str, tmp_path: Path) -> Database:
    """Most batches are over, and their webhooks delivered, each to an endpoint; each had a small picture."""
    await fill(tmp_path, database_url, "default", ROWS, 50)
    await owe(database, workspace_id, 2)
    for first in range(0, ROWS, CHUNK):
        for statement in (_ENDPOINTS, _DELIVERED, _TRIES, _PICTURES):
            values = {"box": b"box", "first": first, "end": first + CHUNK}
            await execute(database, statement.replace("ENDPOINT", _ENDPOINT), **values)
    await execute(database, "UPDATE batches SET records = :small WHERE created < 100", small=SMALL["records"])
    await execute(database, "ANALYZE")
    return database


def explained(connection: Connection, steps: Sequence[Step]) -> list[list[Access]]:
    return [_explained(connection, step) for step in steps]


def _hold_back(connection: Connection) -> None:
    """PostgreSQL takes every given list for 100 rows, for which it reads a small table as a whole."""
    if connection.dialect.name == "postgresql" and ROWS < ENOUGH:
        for way in ("seqscan", "mergejoin", "hashjoin"):
            connection.exec_driver_sql(f"SET enable_{way} = off")


def _explained(connection: Connection, step: Step) -> list[Access]:
    _hold_back(connection)
    with recorded(connection) as seen:
        step(connection)
    return accesses(connection, seen)


def assert_reads_what_is_live(name: str, found: Sequence[Access]) -> None:
    assert found, name
    for access in found:
        by_id = re.search(r"\bid ?(=|IN)|rowid=|batch_id ?=|parent_id ?=|delivery_id ?=", access.condition)
        assert access.table not in TABLES or access.index in LIVE or by_id, (name, access)


def test_indexes_of_what_is_live_are_partial() -> None:
    indexes = {str(index.name): index for table in METADATA.tables.values() for index in table.indexes}
    assert [name for name in LIVE if indexes[name].dialect_options["postgresql"]["where"] is None] == []


async def test_nothing_reads_what_is_over(full: Database, workspace_id: str) -> None:
    """One test, as it takes a minute to fill a database."""
    await check_claims_and_ends(full, workspace_id)
    await check_tries(full, workspace_id)
    await check_sweeps(full, workspace_id)
    await check_retention(full)
    for offset in (0, ROWS // 100):
        await check_page(full, workspace_id, offset)


async def check_claims_and_ends(full: Database, workspace_id: str) -> None:
    await accept(full, workspace_id, 10, **SMALL)
    claims = await claim(full, 5)
    lease, pair = claims[0].lease, claims[:2]
    order = ClaimOrder("worker", (TYPE, "flow"), 10, MINUTE)
    steps: dict[str, Step] = {
        "claim": lambda connection: claim_batches(connection, [order]),
        "claim, careful last": lambda connection: claim_batches(connection, [replace(order, careful=Careful.LAST)]),
        "extend": lambda connection: extend_leases(connection, [Beat("worker", (lease,), MINUTE)]),
        "strays": lambda connection: return_strays(connection, [Strays("worker", (lease,), MINUTE, 0)]),
        "announce": lambda connection: announce_records(connection, [Announcement(lease, 0)]),
        "give back": lambda connection: give_back_batches(connection, [GiveBack(claims[2].lease)]),
        "crash": lambda connection: count_crashes(connection, [Crash(claims[3].lease, 0, 3)]),
        "finish": lambda connection: finish_batches(
            connection, [finish(one, result(), owed=delivery(one)) for one in pair]
        ),
        "hold": lambda connection: claim_deliveries(connection, [DueOrder(10, MINUTE, Rooms(0))]),
        "send": lambda connection: claim_deliveries(connection, [DueOrder(10, MINUTE, Rooms())]),
    }
    for name, step in steps.items():
        assert_reads_what_is_live(name, await full.writer.write(explained, step))


async def check_tries(full: Database, workspace_id: str) -> None:
    await owe(full, workspace_id, 4)
    tried = await claim_due(full)
    assert len(tried) >= 4
    failed = [Report(attempt_result(one, State.PENDING, status_code=500, call=Call.FAILED)) for one in tried[:2]]
    steps: dict[str, Step] = {
        "record": lambda connection: record_attempts(connection, failed),
        "put back": lambda connection: put_back_deliveries(connection, tried[2:]),
    }
    for name, step in steps.items():
        found = await full.writer.write(explained, step)
        assert "attempts" in {access.table for access in found}, name
        assert_reads_what_is_live(name, found)


async def check_sweeps(full: Database, workspace_id: str) -> None:
    await accept(full, workspace_id, 2)
    await claim(full, 2, lease_ms=EXPIRED)
    steps: dict[str, Step] = {
        "rescue": lambda connection: rescue_batches(connection, [RescueOrder(100, 0, 0, FOR_EVER, 3)]),
        "forget keys": lambda connection: forget_keys(connection, [100]),
    }
    for name, step in steps.items():
        assert_reads_what_is_live(name, await full.writer.write(explained, step))
    for name, read in READS.items():
        async with full.reading() as connection:
            assert_reads_what_is_live(name, await looked_at(connection, read))


async def check_retention(full: Database) -> None:
    assert await full.writer.write(take_turn, Turn(Kind.INPUTS, 0))
    async with full.reading() as connection:
        old = await prunable_batches(connection, Place(), 0, 10)
    steps: dict[str, Step] = {
        "expire": lambda connection: expire_blobs(connection, [Expire(Kind.INPUTS, 0, 10)]),
        "prune": lambda connection: prune_batches(connection, [Prune(old.ids, 0)]),
    }
    for name, step in steps.items():
        found = await full.writer.write(explained, step)
        assert "pictures" in {access.table for access in found}, name
        assert_reads_what_is_live(name, [access for access in found if not is_next_ended(access)])


def is_next_ended(access: Access) -> bool:
    return access.index == ENDED and re.search(r"finished ?<", access.condition) is not None


async def looked_at(connection: AsyncConnection, read: Read) -> list[Access]:
    await connection.run_sync(_hold_back)
    assert connection.sync_connection is not None
    with recorded(connection.sync_connection) as seen:
        await read(connection)
    return await connection.run_sync(accesses, seen)


async def check_page(full: Database, workspace_id: str, offset: int) -> None:
    """It is looked for within its stretches, and where the list's index tells all, among its own workspace's rows.

    PostgreSQL 18 would ask that index for a kind behind each `seq`, and finds that dearer than to read all rows.
    """
    mine = BatchFilter((workspace_id,), dialects=("ximilar",))
    stretch = r"seq ?>.*seq ?<|rowid=|\bseq ="
    for which, bounds in (
        (mine, rf"^(?!.*dialect).*workspace_id ?=.*{stretch}"),
        (replace(mine, statuses=(Status.DONE,)), stretch),
    ):
        read = await batches_read(full, which, offset)
        assert read
        for access in read:
            assert re.search(bounds, access.condition), access


async def batches_read(full: Database, which: BatchFilter, offset: int) -> list[Access]:
    async with full.reading() as connection:
        found = await looked_at(connection, lambda connection: list_batches(connection, which, offset, 20))
    return [access for access in found if access.table == "batches"]
