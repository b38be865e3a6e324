"""Queries that make batches DONE: state, results, the delivery that is owed and the parent's count in one go."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from msgspec import Struct
from sqlalchemy import BigInteger, Connection, Text, bindparam, update
from sqlalchemy.sql.dml import ReturningUpdate

from broker.batches import Batch, Outcome, Overview, Result, Status
from broker.deliveries import DueDelivery, NewDelivery
from broker.store.children import count_down, is_complete, load_family, lock_batches, lock_families, open_children
from broker.store.clock import read_clock
from broker.store.columns import Id
from broker.store.given import given
from broker.store.group import brief
from broker.store.leases import Lease, lock_held
from broker.store.overviews import overviews_of
from broker.store.owed import insert_deliveries
from broker.store.results import insert_results
from broker.store.tables import BatchRow, table

_batches = table(BatchRow)


class Finish(Struct, frozen=True):
    """The end of a run: the results not stored yet, the outcome, and the webhook that is owed from now on.

    combined: JSON of what the handler says about all records together. parent: a child's.
    """

    lease: Lease
    run: int
    outcome: Outcome
    results: tuple[Result, ...]
    delivery: NewDelivery | None
    combined: str | None = None
    parent: str | None = None


MakeFinish: TypeAlias = Callable[[Batch, Sequence[Result]], Finish]
"""What the end of a batch with these results is; pure, since rows are locked while it is called."""


class Ended(Struct, frozen=True):
    """A batch became DONE. complete: its parent, if that waits for nothing else now. begun: its delivery, if it is."""

    complete: str | None = None
    begun: DueDelivery | None = None


@dataclass(frozen=True, slots=True)
class EndOrder:
    """Bring a batch to an end that `finish` makes from what is stored of it by then."""

    batch: str
    finish: MakeFinish


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A batch that was to be cancelled, as it stands now. ended: ids of what became DONE by it; complete: a parent."""

    overview: Overview
    ended: tuple[str, ...] = ()
    complete: str | None = None


@brief
def finish_batches(connection: Connection, finishes: Sequence[Finish]) -> list[Ended | None]:
    """PROCESSING -> DONE with results and delivery, all or nothing; None where the lease was lost: nothing changed."""
    lock_batches(connection, {finish.parent for finish in finishes if finish.parent})
    held = lock_held(connection, [finish.lease for finish in finishes])
    ended = _end(connection, [finish for finish in finishes if finish.lease in held], fence=0)
    return [ended.get(finish.lease.batch) if finish.lease in held else None for finish in finishes]


def cancel_batches(connection: Connection, orders: Sequence[EndOrder]) -> list[Cancelled | None]:
    """CREATED | PROCESSING | PAUSED -> DONE with `lease_seq` + 1, a parent's open children before it.

    What is DONE already stays as it is; None: there is no such batch.
    """
    lock_families(connection, [order.batch for order in orders])
    return [_cancel(connection, order) for order in orders]


def _cancel(connection: Connection, order: EndOrder) -> Cancelled | None:
    found = overviews_of(connection, [order.batch])
    if order.batch not in found or found[order.batch].status is Status.DONE:
        return Cancelled(found[order.batch]) if found else None
    children = [order.finish(*child) for child in open_children(connection, order.batch)]
    ended = _end(connection, children, fence=1)
    own = _end(connection, [order.finish(*load_family(connection, order.batch))], fence=1)
    overview = overviews_of(connection, [order.batch])[order.batch]
    return Cancelled(overview, (*ended, *own), own[order.batch].complete)


def complete_parents(connection: Connection, orders: Sequence[EndOrder]) -> list[bool]:
    """PROCESSING -> DONE for parents that wait for no child any more; False for others: nothing changed."""
    lock_batches(connection, [order.batch for order in orders])
    return [_complete(connection, order) for order in orders]


def _complete(connection: Connection, order: EndOrder) -> bool:
    if not is_complete(connection, order.batch):
        return False
    return bool(_end(connection, [order.finish(*load_family(connection, order.batch))], fence=0))


def _end(connection: Connection, finishes: Sequence[Finish], *, fence: int) -> dict[str, Ended]:
    """Make locked batches DONE and raise their `lease_seq` by `fence`; returns what became of each, by id."""
    if not finishes:
        return {}
    rows = [[finish.lease.batch, finish.lease.seq, finish.outcome, finish.combined] for finish in finishes]
    statement = _end_statement(connection.dialect.name)
    now = read_clock(connection)
    values = {"given": json.dumps(rows), "fence": fence, "now": now}
    done: dict[str, str | None] = {row[0]: row[1] for row in connection.execute(statement, values)}
    kept = [finish for finish in finishes if finish.lease.batch in done]
    insert_results(
        connection,
        [(Lease(f.lease.batch, f.lease.seq + fence), f.run, result) for f in kept for result in f.results],
        now,
    )
    owed = insert_deliveries(connection, [finish.delivery for finish in kept if finish.delivery], now)
    begun = {delivery.batch: delivery for delivery in owed}
    complete = count_down(connection, Counter(parent for parent in done.values() if parent is not None))
    return {id: Ended(parent if parent in complete else None, begun.get(id)) for id, parent in done.items()}


@lru_cache
def _end_statement(dialect: str) -> ReturningUpdate[Any]:
    mine = given(dialect, id=Id, seq=BigInteger, outcome=Text, combined=Text)
    return (
        update(_batches)
        .where(
            _batches.c.id == mine.c.id,
            _batches.c.lease_seq == mine.c.seq,
            _batches.c.status != Status.DONE,
        )
        .values(
            status=Status.DONE,
            outcome=mine.c.outcome,
            combined=mine.c.combined,
            lease_seq=_batches.c.lease_seq + bindparam("fence", type_=BigInteger),
            lease_owner=None,
            lease_until=None,
            suspect=None,
            modified=bindparam("now", type_=BigInteger),
            finished=bindparam("now", type_=BigInteger),
        )
        .returning(_batches.c.id, _batches.c.parent_id)
    )
