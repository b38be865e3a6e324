"""Locks of a family on PostgreSQL: parents before children, and nobody of it is overlooked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg
import pytest
from msgspec.structs import replace

from broker.batches import Batch, Outcome, Result, new_id
from broker.store.batches import insert_batches
from broker.store.children import Expansion, NewChild, add_children
from broker.store.database import Database, open_database
from broker.store.ends import EndOrder, Finish, cancel_batches, finish_batches
from broker.store.leases import Lease
from broker.store.workspaces import NewWorkspace, insert_workspaces
from tests.integration.running import until
from tests.integration.store.rows import accept, claim, execute, finish, new_batch, result, select
from tests.integration.store.waiting import WAITING


@pytest.fixture
async def postgresql(postgresql_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    database = open_database(postgresql_url, tmp_path)
    yield database
    await database.aclose()


async def test_end_of_a_child_locks_its_parent_before_the_child(postgresql: Database, postgresql_url: str) -> None:
    workspace = NewWorkspace(id=new_id(), name="default", secrets=b"")
    await postgresql.writer.write(insert_workspaces, workspace)
    (parent,) = await accept(postgresql, workspace.id)
    (listing,) = await claim(postgresql)
    child = new_batch(workspace.id)
    assert await postgresql.writer.write(add_children, Expansion(listing.lease, (NewChild(0, child),), None))
    (claimed,) = await claim(postgresql)
    assert (claimed.id, claimed.batch.parent) == (child.id, parent)
    end = replace(finish(claimed, result()), parent=claimed.batch.parent)
    other = await asyncpg.connect(postgresql_url)
    async with other.transaction():
        await other.execute("SELECT id FROM batches WHERE id = $1 FOR UPDATE", parent)
        ending = asyncio.create_task(postgresql.writer.write(finish_batches, end))
        await until(lambda: other.fetchval(WAITING))
        await other.execute("SELECT id FROM batches WHERE id = $1 FOR UPDATE NOWAIT", child.id)
    await other.close()
    ended = await ending
    assert ended is not None
    assert ended.complete == parent


def cancelled(batch: Batch, stored: Sequence[Result]) -> Finish:
    fresh = () if stored or not batch.records else (result(code=499),)
    return Finish(Lease(batch.id, batch.lease_seq), batch.run, Outcome.CANCELLED, fresh, None, parent=batch.parent)


async def test_cancel_of_a_batch_that_is_just_becoming_a_parent_waits_for_the_claim_of_its_first_child(
    postgresql: Database, postgresql_url: str
) -> None:
    """Its first page is committed while the cancel waits for it, and a worker is just claiming a child of that page."""
    workspace = NewWorkspace(id=new_id(), name="default", secrets=b"")
    await postgresql.writer.write(insert_workspaces, workspace)
    (parent,) = await accept(postgresql, workspace.id, records="[]", size=0)
    await claim(postgresql)
    child = new_batch(workspace.id)
    await postgresql.writer.write(insert_batches, child)
    await execute(
        postgresql,
        "UPDATE batches SET parent_id = CAST(:parent AS uuid), ordinal = 0 WHERE id = CAST(:child AS uuid)",
        parent=parent,
        child=child.id,
    )
    lister, worker = [await asyncpg.connect(postgresql_url) for _ in range(2)]
    async with worker.transaction():
        await worker.execute("SELECT id FROM batches WHERE id = $1 FOR UPDATE", child.id)
        async with lister.transaction():
            await lister.execute("UPDATE batches SET pending = 1, cursor = 'page 2' WHERE id = $1", parent)
            cancelling = asyncio.create_task(postgresql.writer.write(cancel_batches, EndOrder(parent, cancelled)))
            await until(lambda: worker.fetchval(WAITING))
        await until(lambda: lister.fetchval(f"{WAITING} AND $1 = ANY(pg_blocking_pids(pid))", worker.get_server_pid()))
        await worker.execute(
            "UPDATE batches SET status = 'PROCESSING', lease_seq = 1, lease_owner = 'worker', lease_until = $2 "
            "WHERE id = $1",
            *(child.id, 2**52),
        )
    for connection in (lister, worker):
        await connection.close()
    ended = await cancelling
    assert ended is not None
    assert set(ended.ended) == {parent, child.id}
    rows = await select(postgresql, "SELECT status, outcome, lease_seq, pending FROM batches ORDER BY parent_id")
    assert rows == [("DONE", "cancelled", 2, None), ("DONE", "cancelled", 2, 0)]
