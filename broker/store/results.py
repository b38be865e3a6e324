"""Queries that store what became of records: checkpoints while a batch runs, and its end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Connection, Text, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from broker.batches import Outcome, Result, Status
from broker.deliveries import NewDelivery, State
from broker.store.clock import db_now
from broker.store.given import given
from broker.store.leases import Lease, lock_held
from broker.store.rows import result_of
from broker.store.tables import BatchRow, DeliveryRow, Id, ResultRow, table

_batches, _results, _deliveries = table(BatchRow), table(ResultRow), table(DeliveryRow)
_NOW = select(db_now())


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Results of some records of a running batch."""

    lease: Lease
    run: int
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a run: the results not checkpointed yet, the outcome, and the webhook that is owed from now on.

    combined: JSON of what the handler says about all records together.
    """

    lease: Lease
    run: int
    outcome: Outcome
    results: tuple[Result, ...]
    delivery: NewDelivery | None
    combined: str | None = None


def checkpoint_results(connection: Connection, checkpoints: Sequence[Checkpoint]) -> list[bool]:
    """Store finished records of running batches; False for a lease that is lost, whose results are not stored."""
    held = lock_held(connection, [checkpoint.lease for checkpoint in checkpoints])
    kept = [checkpoint for checkpoint in checkpoints if checkpoint.lease in held]
    insert_results(connection, [(c.lease, c.run, result) for c in kept for result in c.results])
    return [checkpoint.lease in held for checkpoint in checkpoints]


def finish_batches(connection: Connection, finishes: Sequence[Finish]) -> list[bool]:
    """PROCESSING -> DONE with results and delivery, all or nothing; False where the lease was lost: nothing changed."""
    lock_held(connection, [finish.lease for finish in finishes])
    rows = [[finish.lease.batch, finish.lease.seq, finish.outcome, finish.combined] for finish in finishes]
    statement = _finish_statement(connection.dialect.name)
    done = {Lease(*row) for row in connection.execute(statement, {"given": json.dumps(rows)})}
    kept = [finish for finish in finishes if finish.lease in done]
    insert_results(connection, [(f.lease, f.run, result) for f in kept for result in f.results])
    _insert_deliveries(connection, [finish.delivery for finish in kept if finish.delivery])
    return [finish.lease in done for finish in finishes]


@lru_cache
def _finish_statement(dialect: str) -> ReturningUpdate[Any]:
    mine = given(dialect, id=Id, seq=BigInteger, outcome=Text, combined=Text)
    return (
        update(_batches)
        .where(
            _batches.c.id == mine.c.id,
            _batches.c.lease_seq == mine.c.seq,
            _batches.c.status == Status.PROCESSING,
        )
        .values(
            status=Status.DONE,
            outcome=mine.c.outcome,
            combined=mine.c.combined,
            lease_owner=None,
            lease_until=None,
            suspect=None,
            modified=db_now(),
            finished=db_now(),
        )
        .returning(_batches.c.id, _batches.c.lease_seq)
    )


def insert_results(connection: Connection, results: Sequence[tuple[Lease, int, Result]]) -> None:
    """Store results under leases that are held. One that a lost answer made us store before stays as it is."""
    if not results:
        return
    now = connection.scalar(_NOW)
    flavour = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(
        flavour.insert(_results).on_conflict_do_nothing(),
        [
            {
                "batch_id": lease.batch,
                "position": result.index,
                "run": run,
                "lease_seq": lease.seq,
                "code": result.code,
                "text": result.text,
                "request_id": result.request_id,
                "facts": json.dumps(result.facts, ensure_ascii=False),
                "finished": now,
            }
            for lease, run, result in results
        ],
    )


def _insert_deliveries(connection: Connection, deliveries: Sequence[NewDelivery]) -> None:
    if not deliveries:
        return
    now = connection.scalar(_NOW)
    connection.execute(
        insert(_deliveries),
        [
            {
                "id": delivery.id,
                "workspace_id": delivery.workspace,
                "batch_id": delivery.batch,
                "run": delivery.run,
                "event": delivery.event,
                "endpoint": delivery.endpoint,
                "target": delivery.target,
                "body": delivery.body,
                "state": State.PENDING,
                "attempts": 0,
                "step": 0,
                "hurried": False,
                "due": now,
                "lease_seq": 0,
                "created": now,
            }
            for delivery in deliveries
        ],
    )


async def results_of(connection: AsyncConnection, batch: str) -> list[Result]:
    """The results that a batch has so far, in the order of its records."""
    rows = await connection.execute(select(_results).where(_results.c.batch_id == batch).order_by(_results.c.position))
    return [result_of(row) for row in rows]
