"""Queries that make batches run again: DONE -> CREATED with the next run's number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Connection, and_, bindparam, delete, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.batches import Outcome, Overview, Refusal, Result, Status
from broker.deliveries import State
from broker.store.children import lock_batches
from broker.store.clock import db_now, read_clock
from broker.store.columns import constant
from broker.store.overviews import overviews_of
from broker.store.rank import fresh_rank
from broker.store.rows import load_records, results_by_batch
from broker.store.tables import BatchRow, DeliveryRow, ResultRow, table

_batches, _results, _deliveries = table(BatchRow), table(ResultRow), table(DeliveryRow)


@dataclass(frozen=True, slots=True)
class RetryOrder:
    """Run the failed records of a batch again, or all of them."""

    batch: str
    all_records: bool


@dataclass(frozen=True, slots=True)
class EndedFilter:
    """Batches that ended from `since` to `until`, in ms of `db_now()`; chosen: a workspace's with these outcomes."""

    workspace: str
    outcomes: tuple[Outcome, ...]
    since: int
    until: int


@dataclass(frozen=True, slots=True)
class EndedBatch:
    """A batch and when it ended, which is its place in the order of ends. chosen: the filter means it."""

    id: str
    finished: int
    chosen: bool


def retry_batches(connection: Connection, orders: Sequence[RetryOrder]) -> list[Overview | Refusal | None]:
    """DONE -> CREATED, run + 1, without the results that are to come anew; why not; None: there is no such batch.

    An older run's delivery that is still unsent is superseded: a try under way may end, and is the last.
    """
    lock_batches(connection, [order.batch for order in orders])
    return [_retry(connection, order) for order in orders]


def _retry(connection: Connection, order: RetryOrder) -> Overview | Refusal | None:
    row = connection.execute(_HEAD, {"batch": order.batch}).first()
    if row is None:
        return None
    kept = _kept(connection, order)
    places = sorted(set(range(row.size)) - {result.index for result in kept})
    refusal = _refusal(row, places, kept)
    if refusal is not None:
        return refusal
    connection.execute(_FORGET.where(_results.c.position.in_(places)), {"batch": order.batch})
    connection.execute(_SUPERSEDE, {"batch": order.batch})
    now = read_clock(connection)
    connection.execute(_REQUEUE, {"batch": order.batch, "now": now, "new_rank": fresh_rank(now)})
    return overviews_of(connection, [order.batch])[order.batch]


def _kept(connection: Connection, order: RetryOrder) -> list[Result]:
    """The results that the next run's event would show again: of the good records, unless all run again."""
    if order.all_records:
        return []
    return [result for result in results_by_batch(connection, [order.batch])[order.batch] if result.ok]


def _refusal(row: Any, places: Sequence[int], kept: Sequence[Result]) -> Refusal | None:
    """places: of the records that are to run again."""
    if row.parent_id is not None or row.pending is not None:
        return Refusal.RELATED
    if row.status != Status.DONE:
        return Refusal.NOT_DONE
    if not places:
        return Refusal.NOTHING_FAILED
    records = load_records(row.records)
    if row.inputs_expired is not None and any(records[place].came_along for place in places):
        return Refusal.INPUTS_EXPIRED
    if row.outputs_expired is not None and any(result.has_outputs for result in kept):
        return Refusal.OUTPUTS_EXPIRED
    return None


_HEAD = select(
    *(_batches.c.id, _batches.c.status, _batches.c.size, _batches.c.records),
    *(_batches.c.parent_id, _batches.c.pending, _batches.c.inputs_expired, _batches.c.outputs_expired),
).where(_batches.c.id == bindparam("batch"))
_FORGET = delete(_results).where(_results.c.batch_id == bindparam("batch"))
_SUPERSEDE = (
    update(_deliveries)
    .where(_deliveries.c.batch_id == bindparam("batch"), _deliveries.c.state == State.PENDING)
    .values(state=State.SUPERSEDED, manual=False, due=None, held=None, scheduled=None, finished=db_now())
)
_REQUEUE = (
    update(_batches)
    .where(_batches.c.id == bindparam("batch"), _batches.c.status == Status.DONE)
    .values(
        status=Status.CREATED,
        run=_batches.c.run + 1,
        outcome=None,
        combined=None,
        finished=None,
        crashes=0,
        doubts=0,
        suspect=None,
        outputs_expired=None,  # what this run makes is kept anew
        rank=bindparam("new_rank", type_=BigInteger),
        due=bindparam("now", type_=BigInteger),
        modified=bindparam("now", type_=BigInteger),
    )
)


async def ended_batches(
    connection: AsyncConnection, which: EndedFilter, after: EndedBatch | None, limit: int
) -> list[EndedBatch]:
    """The next batches of all that ended then, behind `after`, in the order of their ends; None = from the first.

    Those not chosen come along, so that no call looks at more rows than `limit`, whoever else's they are.
    """
    chosen = and_(
        _batches.c.workspace_id == which.workspace,
        _batches.c.outcome.in_(which.outcomes),
        _batches.c.parent_id.is_(None),
    )
    statement = (
        select(_batches.c.id, _batches.c.finished, chosen.label("chosen"))
        .where(
            _batches.c.status == constant(Status.DONE.value),
            _batches.c.finished >= which.since,
            _batches.c.finished <= which.until,
        )
        .order_by(_batches.c.finished, _batches.c.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(tuple_(_batches.c.finished, _batches.c.id) > (after.finished, after.id))
    return [EndedBatch(row.id, row.finished, bool(row.chosen)) for row in await connection.execute(statement)]
