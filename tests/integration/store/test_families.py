"""Locks of a family on PostgreSQL: a child's end waits for its parent before it holds anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from broker.batches import new_id
from broker.store.children import Expansion, NewChild, add_children
from broker.store.database import Database, open_database
from broker.store.ends import finish_batches
from broker.store.workspaces import NewWorkspace, insert_workspaces
from tests.integration.running import until
from tests.integration.store.rows import accept, claim, finish, new_batch, result

WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'broker writer' AND wait_event_type = 'Lock'
"""


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
