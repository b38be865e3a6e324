"""Looking at endpoints: what is counted is found by indices, however much was ever sent."""

from __future__ import annotations

from broker.endpoints import Health
from broker.store.database import Database
from broker.store.endpoint_lists import EndpointFilter, find_endpoint, list_endpoints
from tests.integration.store.ended import explain, recorded
from tests.integration.store.rows import execute, owe


async def test_what_is_owed_is_counted_without_looking_at_what_was_sent(database: Database, workspace_id: str) -> None:
    first, second, *_, last = await owe(database, workspace_id, 200)
    await execute(database, "UPDATE deliveries SET due = NULL WHERE id > :id", id=second)
    await execute(database, "UPDATE deliveries SET held = 1 WHERE id = :id", id=last)
    await execute(database, "UPDATE deliveries SET held = due, due = NULL WHERE id = :id", id=first)
    if database.engine.dialect.name == "postgresql":
        await execute(database, "ANALYZE")  # which chooses by what it has counted
    which = EndpointFilter((workspace_id,), tuple(Health))
    async with database.reading() as connection:
        assert connection.sync_connection is not None
        with recorded(connection.sync_connection) as seen:
            (listed,) = await list_endpoints(connection, which, 0, 200)
            found = await find_endpoint(connection, listed.id, [workspace_id])
        counts = [statement for statement in seen if "deliveries" in statement[0]]
        plans = await connection.run_sync(explain, counts)
    assert found is not None
    assert (listed.pending, found.pending, len(counts)) == (3, 3, 2)
    assert plans.count("ix_deliveries_owed") == plans.count("ix_deliveries_held") == 2
    assert "ix_deliveries_endpoint" not in plans
