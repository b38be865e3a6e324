"""Queries that store and read what became of records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import Connection, Dialect, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.batches import Result, Status
from broker.store.clock import read_clock
from broker.store.driver import insert_rows, rows_text
from broker.store.leases import Lease, lock_held
from broker.store.rows import result_of
from broker.store.tables import BatchRow, ResultRow, table

_batches, _results = table(BatchRow), table(ResultRow)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Results of some records of a running batch."""

    lease: Lease
    run: int
    results: tuple[Result, ...]


def checkpoint_results(connection: Connection, checkpoints: Sequence[Checkpoint]) -> list[bool]:
    """Store finished records of running batches; False for a lease that is lost, whose results are not stored."""
    held = lock_held(connection, [checkpoint.lease for checkpoint in checkpoints])
    kept = [checkpoint for checkpoint in checkpoints if checkpoint.lease in held]
    results = [(c.lease, c.run, result) for c in kept for result in c.results]
    if results:
        insert_results(connection, results, read_clock(connection))
    return [checkpoint.lease in held for checkpoint in checkpoints]


def insert_results(connection: Connection, results: Sequence[tuple[Lease, int, Result]], now: int) -> None:
    """Store results under leases that are held. One that a lost answer made us store before stays as it is.

    now: ms of `db_now()`.
    """
    if not results:
        return
    values = [
        (
            lease.batch,
            result.index,
            run,
            lease.seq,
            result.code,
            result.text,
            result.request_id,
            json.dumps(result.facts, ensure_ascii=False),
            now,
        )
        for lease, run, result in results
    ]
    insert_rows(connection, _insert_text(connection.dialect), values)


_GIVEN = "batch_id position run lease_seq code text request_id facts finished".split()


@lru_cache
def _insert_text(dialect: Dialect) -> str:
    flavour = postgresql if dialect.name == "postgresql" else sqlite
    return rows_text(flavour.insert(_results).on_conflict_do_nothing(), dialect, _GIVEN)


async def results_of(connection: AsyncConnection, batch: str) -> list[Result]:
    """The results that a batch has so far, in the order of its records."""
    rows = await connection.execute(select(_results).where(_results.c.batch_id == batch).order_by(_results.c.position))
    return [result_of(row) for row in rows]


async def results_of_run(connection: AsyncConnection, batch: str, run: int) -> list[Result] | None:
    """The results of a batch that is DONE, in the order of its records; None when it is not, or not in this run."""
    rows = (await connection.execute(_OF_RUN, {"batch": batch})).all()
    if not rows or (rows[0].status, rows[0].batch_run) != (Status.DONE, run):
        return None
    return [result_of(row) for row in rows]


_OF_RUN = (
    select(_batches.c.status, _batches.c.run.label("batch_run"), _results)
    .join(_results, _results.c.batch_id == _batches.c.id)
    .where(_batches.c.id == bindparam("batch"))
    .order_by(_results.c.position)
)
