"""Queries that make a delivery due for one more try because a person asked for it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.batches import first_id
from broker.deliveries import State
from broker.endpoints import Health
from broker.store.clock import db_now, read_clock
from broker.store.delivery_lists import StoredDelivery, deliveries_of, equals
from broker.store.tables import AttemptRow, DeliveryRow, EndpointRow, table

SENDING = "It is being sent right now."
DISABLED = "Its endpoint {} is disabled; enable it first."

CLOCKS_MS = 86_400_000
"""An id has its time from the clock of a process, which may be behind the database's by as much and not be noticed."""

_deliveries, _attempts, _endpoints = table(DeliveryRow), table(AttemptRow), table(EndpointRow)


class Lost(StrEnum):
    """Webhooks that did not arrive. FAILED: all their tries failed; MISSING: they ended without any."""

    FAILED = "failed"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class ReplayOrder:
    """Try a delivery of one of these workspaces once more, now. lease_ms: how long a sender's claim lasts."""

    delivery: str
    workspaces: Collection[str]
    lease_ms: int


@dataclass(frozen=True, slots=True)
class NotReplayed:
    """Why a delivery is not tried now, for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class LostFilter:
    """Deliveries of a workspace that were first owed from `since` to `until`, in ms, and are lost as `what` says."""

    workspace: str
    what: Lost
    since: int
    until: int
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """A delivery that a walk came to. chosen: the filter means it."""

    id: str
    chosen: bool


def replay_deliveries(
    connection: Connection, orders: Sequence[ReplayOrder]
) -> list[StoredDelivery | NotReplayed | None]:
    """Make deliveries due now, whatever their state, for one try that takes no place in the schedule.

    One for which that was asked already keeps its place, and is tried once for all who asked. None: there is no such
    delivery.
    """
    ids = [order.delivery for order in orders]
    connection.execute(_LOCK.where(_deliveries.c.id.in_(ids)))  # then look: a claim that was waited for shows
    rows = {row.id: row for row in connection.execute(_STANDING.where(_deliveries.c.id.in_(ids)))}
    now = read_clock(connection)
    judged = [_judge(rows.get(order.delivery), order, now) for order in orders]
    connection.execute(_REPLAY.where(_deliveries.c.id.in_([row.id for row in judged if isinstance(row, Row)])))
    replayed = deliveries_of(connection, ids)
    return [replayed[row.id] if isinstance(row, Row) else row for row in judged]


async def lost_deliveries(
    connection: AsyncConnection, which: LostFilter, after: str | None, limit: int
) -> list[Looked]:
    """The next deliveries of the workspace behind the one with the id `after`, oldest first; None = from `since` on.

    Those not chosen come along, so that no call looks at more rows than `limit`.
    """
    start = first_id(max(0, which.since - CLOCKS_MS))
    statement = (
        select(_deliveries.c.id, and_(*_chosen(which)).label("chosen"))
        .where(
            _deliveries.c.workspace_id == which.workspace,
            _deliveries.c.id >= start if after is None else _deliveries.c.id > after,
        )
        .order_by(_deliveries.c.id)
        .limit(limit)
    )
    return [Looked(row.id, bool(row.chosen)) for row in await connection.execute(statement)]


def _judge(row: Row[Any] | None, order: ReplayOrder, now: int) -> Row[Any] | NotReplayed | None:
    """The row again where the delivery may be tried."""
    if row is None or row.workspace_id not in order.workspaces:
        return None
    if row.health == Health.DISABLED:
        return NotReplayed(DISABLED.format(row.endpoint))
    return NotReplayed(SENDING) if _is_sending(row, order.lease_ms, now) else row


def _is_sending(row: Row[Any], lease_ms: int, now: int) -> bool:
    """Whether the last try has not ended and its sender may live. One that was superseded meanwhile is not due."""
    if row.started is None or row.held is not None:
        return False
    return bool(row.due > now if row.due is not None else row.started + lease_ms > now)


def _chosen(which: LostFilter) -> list[ColumnElement[bool]]:
    chosen: list[ColumnElement[bool]] = [
        _LOST[which.what],
        _deliveries.c.created >= which.since,
        _deliveries.c.created <= which.until,
    ]
    return chosen if which.endpoint is None else [*chosen, equals(_deliveries.c.endpoint, which.endpoint)]


_tried = _deliveries.c.attempts > 0
_stopped = _deliveries.c.state == State.STOPPED
_LOST = {
    Lost.FAILED: or_(_deliveries.c.state.in_((State.EXHAUSTED, State.REFUSED)), and_(_stopped, _tried)),
    Lost.MISSING: and_(_stopped, ~_tried),
}
_LOCK = select(_deliveries.c.id).order_by(_deliveries.c.id).with_for_update()
_STANDING: Select[Any] = (
    select(
        *(_deliveries.c.id, _deliveries.c.workspace_id, _deliveries.c.endpoint, _deliveries.c.due, _deliveries.c.held),
        *(_endpoints.c.state.label("health"), _attempts.c.started),
    )
    .join(_endpoints, _endpoints.c.id == _deliveries.c.endpoint)
    .join(
        _attempts,
        and_(
            _attempts.c.delivery_id == _deliveries.c.id,
            _attempts.c.number == _deliveries.c.attempts,
            _attempts.c.duration_ms.is_(None),
        ),
        isouter=True,
    )
)
_keeps_place = and_(_deliveries.c.manual, _deliveries.c.due.is_not(None))
_REPLAY = update(_deliveries).values(
    manual=True,
    due=case((_keeps_place, _deliveries.c.due), else_=db_now()),
    held=None,
    scheduled=case(
        (
            _deliveries.c.state == State.PENDING,
            func.coalesce(_deliveries.c.scheduled, _deliveries.c.due, _deliveries.c.held),
        )
    ),
    # What a sender of long ago brings is not this try's outcome, unless it was asked for as well.
    lease_seq=_deliveries.c.lease_seq + case((_keeps_place, 0), else_=1),
)
