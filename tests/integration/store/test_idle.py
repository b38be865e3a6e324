"""Who looks for work and finds none has asked the database one thing: an installation at rest costs little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import pytest
from sqlalchemy import Connection

from broker.store.claims import ClaimOrder, claim_batches
from broker.store.crashes import RescueOrder, rescue_batches
from broker.store.database import Database
from broker.store.deliveries import DueOrder, claim_deliveries
from broker.store.ends import finish_batches
from broker.store.group import Operation
from broker.store.tallies import fold_tallies
from tests.integration.store.ended import Statement, recorded
from tests.integration.store.rows import FOR_EVER, MINUTE, TYPE, Rooms, accept, claim, finish, result

Look: TypeAlias = tuple[Operation[Any, Any], Any]
CLAIM: Look = (claim_batches, ClaimOrder("worker", (TYPE, "flow"), 10, MINUTE))
RESCUE: Look = (rescue_batches, RescueOrder(100, MINUTE, 0, FOR_EVER, 3))
SEND: Look = (claim_deliveries, DueOrder(10, MINUTE, Rooms()))
FOLD: Look = (fold_tallies, None)


async def statements_of(database: Database, look: Look) -> list[Statement]:
    operation, item = look

    def record(connection: Connection, items: Sequence[Any]) -> list[list[Statement]]:
        with recorded(connection) as seen:
            operation(connection, items)
        return [seen] * len(items)

    return await database.writer.write(record, item)


@pytest.mark.parametrize("look", [CLAIM, RESCUE, SEND], ids=["claim", "rescue", "send"])
async def test_a_look_that_finds_nothing_is_one_statement(database: Database, workspace_id: str, look: Look) -> None:
    await accept(database, workspace_id)
    (claimed,) = await claim(database)
    assert await database.writer.write(finish_batches, finish(claimed, result()))
    assert len(await statements_of(database, look)) == 1


async def test_tallies_that_were_told_nothing_are_looked_at_once_where_they_are_told(
    database: Database, workspace_id: str
) -> None:
    """SQLite counts in the statement itself, so nobody has to look there."""
    await accept(database, workspace_id)
    await database.writer.write(fold_tallies, None)
    looks = 1 if database.engine.dialect.name == "postgresql" else 0
    assert len(await statements_of(database, FOLD)) == looks
