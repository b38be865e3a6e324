"""Rows for store tests, and short ways to write and read them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from msgspec import structs
from sqlalchemy import Connection, text

from broker.batches import NewBatch, Outcome, Record, Result, new_id
from broker.deliveries import EVENT_DONE, AttemptResult, DueDelivery, NewDelivery, State
from broker.endpoints import Endpoint
from broker.store.attempts import Recorded, Report, record_attempts
from broker.store.batches import insert_batches
from broker.store.claims import Claim, ClaimOrder, claim_batches
from broker.store.crashes import Rescued, RescueOrder, rescue_batches
from broker.store.database import Database
from broker.store.deliveries import DueOrder, claim_deliveries
from broker.store.ends import Finish, finish_batches
from broker.store.leases import Lease
from broker.store.rows import dump_records
from broker.store.workspaces import NewWorkspace, insert_workspaces

TYPE = "upscaler"
MINUTE = 60_000
FOR_EVER = 2**52
EXPIRED = -1000
"""A lease this long, in ms, is over when it begins."""


async def new_workspace(database: Database, name: str = "default") -> str:
    """Its id."""
    new = NewWorkspace(id=new_id(), name=name, secrets=b"")
    await database.writer.write(insert_workspaces, new)
    return new.id


def new_batch(workspace: str, **changes: Any) -> NewBatch:
    """A batch of one record, as accepted."""
    batch = NewBatch(
        id=new_id(),
        workspace=workspace,
        dialect="ximilar",
        type=TYPE,
        endpoint="upscale_2x",
        params="{}",
        records=dump_records((Record(id="1", url="https://example.com/1.jpg"),)),
        extra="{}",
        size=1,
        base_url="https://broker.example",
    )
    return structs.replace(batch, **changes)


async def accept(database: Database, workspace: str, count: int = 1, **changes: Any) -> list[str]:
    """Store `count` batches in one commit; returns their ids in the order of their rank."""
    batches = [new_batch(workspace, **changes) for _ in range(count)]
    await asyncio.gather(*[database.writer.write(insert_batches, batch) for batch in batches])
    return sorted(batch.id for batch in batches)


async def stored(database: Database) -> set[str]:
    """The ids of all batches."""
    return {str(row[0]) for row in await select(database, "SELECT id FROM batches")}


async def claim(
    database: Database,
    limit: int = 10,
    *,
    types: tuple[str, ...] = (TYPE,),
    owner: str = "worker",
    lease_ms: int = MINUTE,
) -> list[Claim]:
    order = ClaimOrder(owner, types, limit, lease_ms)
    return list((await database.writer.write(claim_batches, order)).claims)


async def rescue(database: Database, limit: int = 100, *, since: int = 0, max_crashes: int = 3) -> list[Rescued]:
    """Free what is over, as a sweeper does that has reached the database without a gap since its time `since`."""
    order = RescueOrder(limit, MINUTE, since, FOR_EVER, max_crashes)
    return list((await database.writer.write(rescue_batches, order)).rescued)


def result(index: int = 0, code: int = 200, **facts: Any) -> Result:
    return Result(index=index, code=code, text="OK", request_id=new_id(), facts=facts)


def endpoint(workspace: str, name: str = "e") -> Endpoint:
    return Endpoint(name * 32, workspace, f"https://{name}.example", b"place")


def delivery(claimed: Claim, **changes: Any) -> NewDelivery:
    """The webhook that is owed for the end of a claimed batch."""
    batch = claimed.batch
    owed = NewDelivery(
        endpoint=endpoint(batch.workspace),
        id=new_id(),
        batch=batch.id,
        workspace=batch.workspace,
        run=batch.run,
        event=EVENT_DONE,
        target=b"box",
        body=b'{"status":"DONE"}',
    )
    return structs.replace(owed, **changes)


def finish(claimed: Claim, *results: Result, owed: NewDelivery | None = None, seq: int | None = None) -> Finish:
    lease = claimed.lease if seq is None else Lease(claimed.id, seq)
    return Finish(lease, claimed.batch.run, Outcome.SUCCEEDED, results, owed)


async def owe(database: Database, workspace: str, count: int = 1, *, at: str = "e") -> list[str]:
    """Bring `count` batches to DONE, each with a delivery that is due; returns the ids of the deliveries.

    at: the endpoint, by one letter.
    """
    await accept(database, workspace, count)
    to = endpoint(workspace, at)
    ends = [finish(claimed, result(), owed=delivery(claimed, endpoint=to)) for claimed in await claim(database, count)]
    assert all(await asyncio.gather(*[database.writer.write(finish_batches, end) for end in ends]))
    return sorted(end.delivery.id for end in ends if end.delivery)


@dataclass
class Rooms:
    """An usher with so much room at every endpoint, none at those of the workspaces that are `full`."""

    each: int = 1000
    full: frozenset[str] = frozenset()
    admitted: Counter[str] = field(default_factory=Counter)

    def fresh(self) -> Rooms:
        return Rooms(self.each, self.full)

    def room(self, endpoint: str, _origin: str, workspace: str) -> int:
        return 0 if workspace in self.full else self.each - self.admitted[endpoint]

    def admit(self, endpoint: str, _origin: str, _workspace: str) -> None:
        self.admitted[endpoint] += 1


async def claim_due(
    database: Database, limit: int = 10, lease_ms: int = MINUTE, *, room: int = 1000
) -> list[DueDelivery]:
    order = DueOrder(limit, lease_ms, Rooms(room))
    return list((await database.writer.write(claim_deliveries, order)).deliveries)


def attempt_result(due: DueDelivery, state: State = State.DELIVERED, **changes: Any) -> AttemptResult:
    """What a try brought that was answered 200."""
    answered = AttemptResult(
        delivery=due.id,
        endpoint=due.endpoint,
        lease_seq=due.lease_seq,
        attempt=due.attempt,
        state=state,
        status_code=200,
        error=None,
        response=b"thanks",
        duration_ms=12,
        pause_ms=0,
    )
    return structs.replace(answered, **changes)


async def record(database: Database, *results: AttemptResult) -> list[Recorded]:
    return await asyncio.gather(*[database.writer.write(record_attempts, Report(result)) for result in results])


async def execute(database: Database, statement: str, **parameters: Any) -> None:
    """Write what no query of the store writes yet."""

    def run(connection: Connection, statements: Sequence[str]) -> list[None]:
        for one in statements:
            connection.execute(text(one), parameters)
        return [None] * len(statements)

    await database.writer.write(run, statement)


async def select(database: Database, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    async with database.reading() as connection:
        rows = await connection.execute(text(statement), parameters)
        return [tuple(str(value) if isinstance(value, UUID) else value for value in row) for row in rows]


async def everything(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All that work on batches can change."""
    return {
        name: sorted(await select(database, f"SELECT * FROM {name}"), key=repr)
        for name in ("batches", "results", "deliveries", "attempts")
    }
