"""Queries of workers that look for batches: claim what is due, or one that took a worker down, alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Any

from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    Connection,
    Row,
    Select,
    bindparam,
    literal_column,
    select,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from broker.batches import Batch, Result, Status
from broker.store.clock import db_now, read_clock
from broker.store.columns import constant
from broker.store.group import brief, unflushed
from broker.store.leases import Lease
from broker.store.pictures import pictures_by_batch
from broker.store.rows import batch_of, columns_of_batch, results_by_batch
from broker.store.tables import BatchRow, WorkspaceRow, table

_batches, _workspaces = table(BatchRow), table(WorkspaceRow)

PATIENCE_MS = 2_000
"""How long a batch that took a worker down waits for an idle one before a busy one makes room for it."""
LONG_SECONDS = 0.02
"""What a look takes that passes over a hundred thousand batches. Less than what is brief on an event loop."""
LATE_MS = 10_000
"""How much later than the database's time, which it has for its rank, a batch may become visible."""


class Careful(Enum):
    """Whether batches that took a worker down come before all others, or only where there are no others."""

    FIRST = auto()
    LAST = auto()


@dataclass(frozen=True, slots=True)
class ClaimOrder:
    """Claim up to `limit` batches of `types` for `owner`, for `lease_ms`. idle: this worker runs nothing now.

    rank: the lowest that is looked at. long_seconds: what takes less is not worth telling how much was passed over.
    """

    owner: str
    types: tuple[str, ...]
    limit: int
    lease_ms: int
    idle: bool = True
    careful: Careful = Careful.FIRST
    rank: int = 0
    long_seconds: float = LONG_SECONDS


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A look took so many seconds, and nothing below `rank` could be claimed."""

    rank: int
    seconds: float


class Claim(Struct, frozen=True):
    """A batch that this process may work on while its lease lasts; `results` are those checkpointed before.

    careful: it took a worker down, so it is to run alone, record by record, each announced. pictures: of its small
    records, by their places.
    """

    batch: Batch
    results: tuple[Result, ...]
    careful: bool = False
    pictures: Mapping[int, bytes] = {}

    @property
    def id(self) -> str:
        return self.batch.id

    @property
    def lease(self) -> Lease:
        return Lease(self.batch.id, self.batch.lease_seq)


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim brought. makes_room: nothing, because this worker is to be idle for a batch that waits for that.

    passed_over: when it took long.
    """

    claims: tuple[Claim, ...] = ()
    makes_room: bool = False
    passed_over: PassedOver | None = None


_RANK = columns_of_batch("rank", "id")
_MARKS = columns_of_batch("id", "lease_seq", "crashes")


@brief
@unflushed
def claim_batches(connection: Connection, orders: Sequence[ClaimOrder]) -> list[Claimed]:
    """CREATED -> PROCESSING for the first due batches by rank; raises each one's `lease_seq` by one.

    A batch that took a worker down comes alone, and only to an idle worker. Where one has waited for that and comes
    first, a busy worker gets nothing until it is idle.
    """
    waiting, crashed = connection.execute(_GLANCE).one()
    if waiting is None:
        return [Claimed() for _ in orders]
    return [_claim(connection, order, crashed=crashed is not None) for order in orders]


def _claim(connection: Connection, order: ClaimOrder, *, crashed: bool) -> Claimed:
    if not crashed:
        return _claim_fresh(connection, order)
    if order.careful is Careful.FIRST:
        return _claim_crashed(connection, order) or _claim_fresh(connection, order)
    fresh = _claim_fresh(connection, order)
    return fresh if fresh.claims else _claim_crashed(connection, order) or fresh


def _claim_crashed(connection: Connection, order: ClaimOrder) -> Claimed | None:
    patience = 0 if order.idle else PATIENCE_MS
    id = connection.scalar(_crashed_statement(len(order.types)), {**_types(order), "patience": patience})
    if id is None:
        return None
    if not order.idle:
        return Claimed(makes_room=True)
    values = {"owner": order.owner, "lease_ms": order.lease_ms, "batch": id}
    return Claimed(_claims(connection, connection.execute(_CLAIM_ONE, values).all()))


def _claim_fresh(connection: Connection, order: ClaimOrder) -> Claimed:
    values = {"owner": order.owner, "lease_ms": order.lease_ms, "limit": order.limit, "from": order.rank}
    began = time.monotonic()
    rows = connection.execute(_claim_statement(len(order.types)), {**values, **_types(order)}).all()
    seconds = time.monotonic() - began
    claims = _claims(connection, rows)
    if seconds < order.long_seconds:
        return Claimed(claims)
    lowest = min([read_clock(connection) - LATE_MS, *(row.rank for row in rows)])
    return Claimed(claims, passed_over=PassedOver(lowest, seconds))


def _claims(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[Claim, ...]:
    rows = sorted(rows, key=_RANK)
    marks = [_MARKS(row) for row in rows]
    earlier = results_by_batch(connection, [id for id, seq, _ in marks if seq > 1])
    batches = [batch_of(row) for row in rows]
    pictures = pictures_by_batch(connection, [batch.id for batch in batches if any(r.small for r in batch.records)])
    return tuple(
        Claim(batch, tuple(earlier[id]), crashes > 0, pictures[id])
        for batch, (id, _, crashes) in zip(batches, marks, strict=True)
    )


def _types(order: ClaimOrder) -> dict[str, str]:
    return {f"type_{place}": type for place, type in enumerate(order.types)}


_created = _batches.c.status == constant(Status.CREATED.value)
_paused = select(_workspaces.c.id).where(_workspaces.c.paused)
_claimed = {
    "status": Status.PROCESSING,
    "lease_seq": _batches.c.lease_seq + 1,
    "lease_owner": bindparam("owner"),
    "lease_until": db_now() + bindparam("lease_ms", type_=BigInteger),
    "modified": db_now(),
}
_by_rank = (_batches.c.rank, _batches.c.id)
_crashed = _batches.c.crashes > constant(0)
_first = select(_batches.c.id).where(_created)
FIRST_WAITING = _first.order_by(_batches.c.type, *_by_rank).limit(1).scalar_subquery()
"""A batch that waits for a worker, due or not; no value where there is none."""
_GLANCE = select(FIRST_WAITING, _first.where(_crashed).order_by(*_by_rank).limit(1).scalar_subquery())
"""Whether any batch waits at all, and any that took a worker down: an idle worker's look is most often over by it."""
_CLAIM_ONE = update(_batches).where(_batches.c.id == bindparam("batch")).values(_claimed).returning(_batches)


@lru_cache
def _crashed_statement(types: int) -> Select[Any]:
    """The first batch with crashes that has been due for `patience` ms; its row is locked.

    By the index of such batches, which are few: told the type as it stands, SQLite would search all of that type.
    """
    return (
        select(_batches.c.id)
        .where(
            _created,
            _crashed,
            _batches.c.type.concat(literal_column("''")).in_([bindparam(f"type_{place}") for place in range(types)]),
            _batches.c.due <= db_now() - bindparam("patience", type_=BigInteger),
            _batches.c.workspace_id.not_in(_paused),
        )
        .order_by(*_by_rank)
        .limit(1)
        .with_for_update(skip_locked=True, of=_batches)
    )


@lru_cache
def _claim_statement(types: int) -> ReturningUpdate[Any]:
    first = [
        select(_batches.c.id, _batches.c.rank)
        .where(
            _created,
            _batches.c.type == bindparam(f"type_{place}"),
            _batches.c.rank >= bindparam("from", type_=BigInteger),
            _batches.c.crashes == constant(0),
            _batches.c.due <= db_now(),
            _batches.c.workspace_id.not_in(_paused),
        )
        .order_by(*_by_rank)
        .limit(bindparam("limit"))
        .with_for_update(skip_locked=True, of=_batches)
        .subquery(f"of_type_{place}")
        for place in range(types)
    ]
    candidates = union_all(*[select(arm) for arm in first]).subquery("candidates")
    chosen = select(candidates.c.id).order_by(candidates.c.rank, candidates.c.id).limit(bindparam("limit"))
    return update(_batches).where(_batches.c.id.in_(chosen)).values(_claimed).returning(_batches)


async def overdue_batches(connection: AsyncConnection, late_ms: int, limit: int) -> list[tuple[str, str]]:
    """(type, batch id) of batches that have been due for `late_ms` and are not claimed, by type and rank.

    Batches of a paused workspace are not due.
    """
    rows = await connection.execute(_OVERDUE, {"late_ms": late_ms, "limit": limit})
    return [(row.type, row.id) for row in rows]


_OVERDUE = (
    select(_batches.c.id, _batches.c.type)
    .where(_created)
    .where(_batches.c.due < db_now() - bindparam("late_ms", type_=BigInteger))
    .where(_batches.c.workspace_id.not_in(_paused))
    .order_by(_batches.c.type, _batches.c.rank, _batches.c.id)
    .limit(bindparam("limit"))
)
