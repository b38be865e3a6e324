"""The operator's old webhooks and endpoints that nothing goes to any more are forgotten, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection, text

from broker.batches import new_id
from broker.deliveries import NewDelivery
from broker.media.blobs import open_blobs
from broker.store.clock import read_clock
from broker.store.database import Database, open_database
from broker.store.group import Operation
from broker.store.owed import insert_deliveries
from broker.store.unneeded import forget_endpoints
from broker.work.retention import CHUNK, Retention
from tests.integration.running import Broker, StartWorker
from tests.integration.store.rows import claim_due, endpoint, execute, owe, select

T = TypeVar("T")
R = TypeVar("R")
DAY = 24 * 3600 * 1000
KEPT_DAYS = 4


@pytest.fixture
def retention(database: Database, tmp_path: Path) -> Retention:
    return Retention(database, open_blobs("", tmp_path), DAY, DAY, KEPT_DAYS * DAY)


def tell(connection: Connection, told: Sequence[NewDelivery]) -> list[None]:
    insert_deliveries(connection, told, read_clock(connection))
    return [None] * len(told)


async def told(database: Database, workspace: str, count: int, days: int, state: str) -> None:
    """So many webhooks without a batch, so old, each tried once."""
    to = endpoint(workspace, "o")
    for _ in range(count):
        new = NewDelivery(new_id(), None, workspace, 1, f"{state} {days}", to, b"box", b"{}")
        await database.writer.write(tell, new)
    await claim_due(database, count)
    change = "UPDATE deliveries SET state = :state, created = created - :age WHERE event = :event"
    await execute(database, change, state=state, age=days * DAY, event=f"{state} {days}")


async def test_what_the_operator_was_told_is_forgotten_when_it_is_old_and_owed_no_more(
    database: Database, workspace_id: str, retention: Retention
) -> None:
    await told(database, workspace_id, CHUNK + 20, 5, "delivered")
    await told(database, workspace_id, 1, 5, "pending")
    await told(database, workspace_id, 1, 3, "exhausted")
    assert await retention.forget_told() == CHUNK + 20
    assert await retention.forget_told() == 0
    kept = await select(
        database, "SELECT event, (SELECT count(*) FROM attempts WHERE delivery_id = id) FROM deliveries"
    )
    assert sorted(kept) == [("exhausted 3", 1), ("pending 5", 1)]
    assert await select(database, "SELECT count(*) FROM attempts") == [(2,)]


async def test_endpoints_are_forgotten_when_nothing_went_there_for_long_unless_they_are_disabled(
    database: Database, workspace_id: str, retention: Retention
) -> None:
    for at in "abcd":
        await owe(database, workspace_id, at=at)
    await execute(database, "UPDATE endpoints SET created = created - :age WHERE id <> :d", age=5 * DAY, d="d" * 32)
    await execute(database, "UPDATE endpoints SET state = 'disabled' WHERE id = :id", id="b" * 32)
    await execute(database, "DELETE FROM deliveries WHERE endpoint <> :c", c="c" * 32)
    assert await retention.forget_endpoints() == 1
    assert await select(database, "SELECT id FROM endpoints ORDER BY id") == [(at * 32,) for at in "bcd"]


async def test_many_endpoints_are_walked_in_steps(database: Database, workspace_id: str, retention: Retention) -> None:
    await owe(database, workspace_id)
    copy = (
        "INSERT INTO endpoints SELECT :id, workspace_id, origin, place, state, reason, created - :age, failures, "
        "failing_since, recent, open_until, holding, created - :age FROM endpoints WHERE id = :one"
    )
    for number in range(2 * CHUNK + 5):
        await execute(database, copy, id=f"{number:032}", age=5 * DAY, one="e" * 32)
    assert await retention.forget_endpoints() == 2 * CHUNK + 5
    assert await select(database, "SELECT id FROM endpoints") == [("e" * 32,)]


def slowly(operation: Operation[T, R], done: Callable[[], object]) -> Operation[T, R]:
    """An operation whose transaction stays open for a while after it has done everything."""

    def run(connection: Connection, items: Sequence[T]) -> Sequence[R]:
        results = operation(connection, items)
        done()
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_sleep(0.3)"))
        else:
            time.sleep(0.3)
        return results

    return run


@pytest.mark.parametrize("forgotten_first", [True, False])
async def test_an_endpoint_to_which_a_delivery_is_born_as_it_is_forgotten_is_there(
    database_url: str, tmp_path: Path, database: Database, workspace_id: str, *, forgotten_first: bool
) -> None:
    """Whichever transaction begins first, it has done its work, but is not committed when the other one comes."""
    await told(database, workspace_id, 1, 5, "delivered")
    for statement in ("DELETE FROM attempts", "DELETE FROM deliveries"):
        await execute(database, statement)
    begun = asyncio.Event()
    done = partial(asyncio.get_running_loop().call_soon_threadsafe, begun.set)
    born = NewDelivery(new_id(), None, workspace_id, 1, "born", endpoint(workspace_id, "o"), b"box", b"{}")
    async with aclosing(open_database(database_url, tmp_path)) as other:
        if forgotten_first:
            forgetting = asyncio.create_task(other.writer.write(slowly(forget_endpoints, done), [born.endpoint.id]))
            await begun.wait()
            await database.writer.write(tell, born)
            assert await forgetting == 1
        else:
            birth = asyncio.create_task(other.writer.write(slowly(tell, done), born))
            await begun.wait()
            assert await database.writer.write(forget_endpoints, [born.endpoint.id]) == 0
            await birth
    joined = "SELECT event FROM deliveries JOIN endpoints ON endpoints.id = endpoint"
    assert await select(database, joined) == [("born",)]


async def test_a_worker_forgets_both(broker: Broker, start_worker: StartWorker) -> None:
    database, workspace = broker.core.database, broker.tenant.workspace
    await told(database, workspace, 1, 5, "delivered")
    await execute(database, "UPDATE endpoints SET created = created - :age", age=5 * DAY)
    worker = await start_worker(retention_days=KEPT_DAYS)
    await worker.work.retention.once()
    assert await select(database, "SELECT id FROM deliveries") == []
    assert await select(database, "SELECT id FROM endpoints") == []


async def test_an_endpoint_that_something_goes_to_after_the_look_stays(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id)
    await execute(database, "UPDATE endpoints SET created = created - :age", age=5 * DAY)
    assert await database.writer.write(forget_endpoints, ["e" * 32]) == 0
    assert await select(database, "SELECT id FROM endpoints") == [("e" * 32,)]
