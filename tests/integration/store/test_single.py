"""What a database is told is a single statement is one: PostgreSQL has no transaction around it that would hold two."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

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


@pytest.mark.parametrize("pictures", [{}, {0: b"a picture", 3: b"another"}])
async def test_batches_are_a_single_statement_with_their_pictures(
    database: Database, workspace_id: str, pictures: Mapping[int, bytes]
) -> None:
    batches = [*(new_batch(workspace_id) for _ in range(3)), new_batch(workspace_id, pictures=pictures)]
    assert is_taken_for_single(batches)
    sent = await statements_of(database, batches)
    if database.engine.dialect.name == "sqlite":  # with the clock and the pictures, which cost no way to a server there
        assert [statement.split()[0] for statement in sent] == ["SELECT", "INSERT", *["INSERT"] * bool(pictures)]
    else:
        assert len(sent) == 1


@pytest.mark.parametrize("others", [0, 1])
async def test_batches_with_keys_have_a_transaction_around_them(
    database: Database, workspace_id: str, others: int
) -> None:
    keyed = new_batch(workspace_id, key=IdempotencyKey("one", b""))
    batches = [*(new_batch(workspace_id) for _ in range(others)), keyed]
    assert not is_taken_for_single(batches)
    assert not is_taken_for_single(batches[::-1])
    assert len(await statements_of(database, batches)) > 1
