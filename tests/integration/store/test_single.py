"""What a database is told is a single statement is one: PostgreSQL has no transaction around it that would hold two."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, event

from broker.batches import IdempotencyKey, NewBatch
from broker.store.batches import insert_batches
from broker.store.database import Database
from broker.store.group import Write, is_single
from tests.integration.store.rows import new_batch


async def statements_of(database: Database, batches: Sequence[NewBatch]) -> list[str]:
    """What is sent to store these."""
    sent: list[str] = []

    def insert(connection: Connection, groups: Sequence[Sequence[NewBatch]]) -> list[list[int | None]]:
        event.listen(connection, "before_cursor_execute", lambda *told: sent.append(told[2]))
        return [insert_batches(connection, group) for group in groups]

    assert None not in await database.writer.write(insert, batches)
    return sent


def is_taken_for_single(batches: Sequence[NewBatch]) -> bool:
    loop = asyncio.get_running_loop()
    return is_single([Write(insert_batches, batch, 1, loop.create_future(), 0.0) for batch in batches])


async def test_batches_that_are_nothing_but_rows_are_a_single_statement(database: Database, workspace_id: str) -> None:
    batches = [new_batch(workspace_id) for _ in range(3)]
    assert is_taken_for_single(batches)
    sent = await statements_of(database, batches)
    if database.engine.dialect.name == "sqlite":  # the clock, which costs no way to a server there
        assert sent.pop(0).startswith("SELECT")
    assert len(sent) == 1


@pytest.mark.parametrize("more", [{"key": IdempotencyKey("one", b"")}, {"pictures": {0: b"a picture"}}])
@pytest.mark.parametrize("others", [0, 1])
async def test_batches_that_are_more_than_rows_have_a_transaction_around_them(
    database: Database, workspace_id: str, more: Mapping[str, Any], others: int
) -> None:
    batches = [*(new_batch(workspace_id) for _ in range(others)), new_batch(workspace_id, **more)]
    assert not is_taken_for_single(batches)
    assert not is_taken_for_single(batches[::-1])
    assert len(await statements_of(database, batches)) > 1
