"""Batches that ended some time ago, and the plans by which the database finds them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

from sqlalchemy import Connection, event

from broker.batches import Overview, new_id
from broker.store.database import Database
from broker.store.retries import RetryOrder, retry_batches
from tests.integration.store.rows import execute, owe, select

T = TypeVar("T")
R = TypeVar("R")
Statement: TypeAlias = tuple[str, Any]
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
CHUNK = 5


async def ended(database: Database, workspace: str, count: int = 1, *, ago_ms: int = DAY) -> list[str]:
    """The ids of `count` batches of one result and one delivered webhook each, which ended `ago_ms` ago."""
    deliveries = await owe(database, workspace, count)
    between = {"first": deliveries[0], "last": deliveries[-1]}
    await execute(database, "UPDATE deliveries SET state = 'delivered' WHERE id BETWEEN :first AND :last", **between)
    rows = await select(
        database, "SELECT batch_id FROM deliveries WHERE id BETWEEN :first AND :last ORDER BY batch_id", **between
    )
    ids = [str(row[0]) for row in rows]
    await execute(
        database,
        "UPDATE batches SET finished = finished - :ms WHERE id BETWEEN :first AND :last",
        ms=ago_ms,
        first=ids[0],
        last=ids[-1],
    )
    return ids


def id_from(ago_ms: int) -> str:
    """The id of a batch that was accepted `ago_ms` ago."""
    fresh = UUID(new_id())
    return str(UUID(int=fresh.int - (ago_ms << 80)))


async def back_date(database: Database, id: str, ms: int) -> None:
    """Let the end of a batch lie `ms` further back."""
    await execute(database, "UPDATE batches SET finished = finished - :ms WHERE id = :id", ms=ms, id=id)


async def run_again(database: Database, id: str) -> None:
    """Retry all records of a DONE batch."""
    assert isinstance(await database.writer.write(retry_batches, RetryOrder(id, all_records=True)), Overview)


@asynccontextmanager
async def refusing(database: Database, move: str) -> AsyncIterator[None]:
    """A database that refuses every UPDATE or DELETE of a batch, with an IntegrityError."""
    sqlite = database.engine.dialect.name == "sqlite"
    refused = f"BEFORE {move} ON batches BEGIN SELECT RAISE(ABORT, 'refused'); END"
    if not sqlite:
        body = "BEGIN RAISE check_violation USING MESSAGE = 'refused'; END"
        await execute(database, f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$")
        refused = f"BEFORE {move} ON batches FOR EACH ROW EXECUTE FUNCTION refuse()"
    await execute(database, f"CREATE TRIGGER refuse {refused}")
    yield
    await execute(database, "DROP TRIGGER refuse" if sqlite else "DROP FUNCTION refuse() CASCADE")


@contextmanager
def recorded(connection: Connection) -> Iterator[list[Statement]]:
    """The statements that are executed inside, with their parameters."""
    seen: list[Statement] = []

    def note(_connection: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        seen.append((statement, parameters[0] if many else parameters))

    event.listen(connection, "before_cursor_execute", note)
    yield seen
    event.remove(connection, "before_cursor_execute", note)


def explain(connection: Connection, seen: Sequence[Statement]) -> str:
    """The plans of statements. PostgreSQL takes every given list for 100 rows, too many for a table of a test."""
    word = "EXPLAIN QUERY PLAN"
    if connection.dialect.name == "postgresql":
        word = "EXPLAIN (COSTS OFF)"
        connection.exec_driver_sql("SET enable_seqscan = off")
    plans = [connection.exec_driver_sql(f"{word} {statement}", parameters) for statement, parameters in seen]
    return "\n".join(str(row[-1]) for rows in plans for row in rows)


async def plans_of(database: Database, operation: Callable[[Connection, Sequence[T]], Sequence[R]], item: T) -> str:
    """The plans of the statements by which a write is done."""

    def explained(connection: Connection, items: Sequence[T]) -> list[str]:
        with recorded(connection) as seen:
            operation(connection, items)
        return [explain(connection, seen)] * len(items)

    return await database.writer.write(explained, item)


def assert_walks_by_index(plans: str) -> None:
    """The walk over ended batches is bounded on both sides by the index, and no table is scanned."""
    assert "ix_batches_ended" in plans
    bounds = [line for line in plans.split("\n") if "ix_batches_ended" in line or "Index Cond" in line]
    assert any("finished<?" in line or "finished < " in line for line in bounds)
    assert_scans_no_table(plans)


def assert_scans_no_table(plans: str) -> None:
    for name in ("batches", "results", "deliveries", "attempts", "pictures"):
        assert f"SCAN {name}" not in plans
        assert f"Seq Scan on {name}" not in plans


async def crowd(database: Database, workspace: str) -> None:
    """So many batches, which ended long ago and a moment ago, that an index pays for the CHUNK oldest of them."""
    for ago_ms in (0, DAY, 10 * DAY, 40 * DAY):
        await ended(database, workspace, 300, ago_ms=ago_ms)
    await execute(database, "ANALYZE")
