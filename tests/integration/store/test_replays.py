"""The walk to what did not arrive: it begins at the time that is asked for, however much was owed before."""

from __future__ import annotations

from uuid import UUID

from broker.batches import new_id
from broker.store.database import Database
from broker.store.replays import CLOCKS_MS, Looked, Lost, LostFilter, lost_deliveries
from broker.store.workspaces import NewWorkspace, insert_workspaces
from tests.integration.store.ended import DAY, HOUR, assert_scans_no_table, explain, id_from, recorded
from tests.integration.store.rows import execute, owe

LATER = 2**52


async def test_what_was_owed_long_before_is_not_looked_at(database: Database, workspace_id: str) -> None:
    """But what a process with a clock that is behind has named is."""
    other = NewWorkspace(id=new_id(), name="other", secrets=b"")
    await database.writer.write(insert_workspaces, other)
    await owe(database, other.id, 200, at="f")  # so that a look at everybody's is dearer
    old, slow, new = await owe(database, workspace_id, 3)
    await execute(database, "UPDATE deliveries SET id = :old WHERE id = :id", old=id_from(10 * DAY), id=old)
    behind = id_from(CLOCKS_MS - HOUR)
    await execute(database, "UPDATE deliveries SET id = :behind WHERE id = :id", behind=behind, id=slow)
    await execute(database, "UPDATE deliveries SET state = 'exhausted', due = NULL")
    await execute(database, "ANALYZE")
    which = LostFilter(workspace_id, Lost.FAILED, UUID(new).int >> 80, LATER)
    async with database.reading() as connection:
        assert connection.sync_connection is not None
        with recorded(connection.sync_connection) as seen:
            found = await lost_deliveries(connection, which, None, 10)
        plan = await connection.run_sync(explain, seen)
    assert found == [Looked(behind, chosen=True), Looked(new, chosen=True)]
    assert_scans_no_table(plan)
    assert "ix_deliveries_list" in plan
    assert "id>?" in plan.replace(" ", "") or "id>=" in plan.replace(" ", "")
