"""Queries that look at deliveries: one with its attempts, a page of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, false, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.batches import is_id
from broker.deliveries import State
from broker.store.tables import AttemptRow, BatchRow, DeliveryRow, EndpointRow, table

_deliveries, _attempts = table(DeliveryRow), table(AttemptRow)
_endpoints, _batches = table(EndpointRow), table(BatchRow)


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries a list shows: of these workspaces; None = any.

    batch: its UUID or its dialect's own id. since, until: when they were owed at first, in ms, both included.
    """

    workspaces: tuple[str, ...]
    states: tuple[State, ...] | None = None
    events: tuple[str, ...] | None = None
    batch: str | None = None
    endpoint: str | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """How a delivery stands. Times in ms since 1970.

    place: the target's URL without query in a box. due: when the next try is, None where none is owed, or `held` back.
    manual: a person has asked for the next try.
    """

    id: str
    workspace: str
    batch: str | None
    run: int
    event: str
    endpoint: str
    place: bytes
    state: State
    attempts: int
    due: int | None
    held: bool
    manual: bool
    created: int
    finished: int | None


@dataclass(frozen=True, slots=True)
class StoredContent:
    """What a delivery sends. target: URL and headers in a box; body: the exact bytes."""

    target: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try. What came of it is None while it is under way, or when its sender died. response: in a box."""

    number: int
    manual: bool
    started: int
    duration_ms: int | None
    status_code: int | None
    error: str | None
    response: bytes | None


def equals(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Whether a column holds what came from outside; PostgreSQL takes no NUL."""
    return column == text if text.isascii() and text.isprintable() else false()


def deliveries_of(connection: Connection, ids: Collection[str]) -> dict[str, StoredDelivery]:
    """How deliveries stand, by id; those that are not there are left out."""
    return {row.id: _stored(row) for row in connection.execute(_LOOK.where(_deliveries.c.id.in_(ids)))}


async def find_delivery(
    connection: AsyncConnection, id: str, workspaces: Collection[str]
) -> tuple[StoredDelivery, StoredContent] | None:
    """The delivery of this UUID, if it belongs to one of these workspaces."""
    whole = _LOOK.add_columns(_deliveries.c.target, _deliveries.c.body)
    seen = whole.where(_deliveries.c.id == id, _deliveries.c.workspace_id.in_(workspaces))
    row = (await connection.execute(seen)).first()
    return (_stored(row), StoredContent(row.target, row.body)) if row else None


async def attempts_of(connection: AsyncConnection, id: str) -> list[Attempt]:
    """The tries of a delivery so far, in their order."""
    statement = select(*_TRY).where(_attempts.c.delivery_id == id).order_by(_attempts.c.number)
    return [Attempt(*row) for row in await connection.execute(statement)]


async def list_deliveries(
    connection: AsyncConnection, which: DeliveryFilter, offset: int, limit: int
) -> list[StoredDelivery]:
    """Deliveries of `which`, newest first."""
    newest = _LOOK.where(*_conditions(which)).order_by(_deliveries.c.id.desc())
    return [_stored(row) for row in await connection.execute(newest.offset(offset).limit(limit))]


async def count_deliveries(connection: AsyncConnection, which: DeliveryFilter) -> int:
    """How many deliveries `which` has."""
    counted = select(func.count()).select_from(_deliveries).where(*_conditions(which))
    return int(await connection.scalar(counted) or 0)


def _conditions(which: DeliveryFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [_deliveries.c.workspace_id.in_(which.workspaces)]
    if which.states is not None:
        conditions.append(_deliveries.c.state.in_(which.states))
    if which.events is not None:
        conditions.append(_deliveries.c.event.in_(which.events))
    if which.batch is not None:
        conditions.append(_of_batch(which.batch, which.workspaces))
    if which.endpoint is not None:
        conditions.append(equals(_deliveries.c.endpoint, which.endpoint))
    if which.since is not None:
        conditions.append(_deliveries.c.created >= which.since)
    if which.until is not None:
        conditions.append(_deliveries.c.created <= which.until)
    return conditions


def _of_batch(name: str, workspaces: Sequence[str]) -> ColumnElement[bool]:
    if is_id(name):
        return _deliveries.c.batch_id == name.lower()
    named = equals(_batches.c.external_id, name)
    return _deliveries.c.batch_id.in_(select(_batches.c.id).where(named, _batches.c.workspace_id.in_(workspaces)))


_LOOK: Select[Any] = select(
    *(_deliveries.c.id, _deliveries.c.workspace_id, _deliveries.c.batch_id, _deliveries.c.run, _deliveries.c.event),
    *(_deliveries.c.endpoint, _endpoints.c.place, _deliveries.c.state, _deliveries.c.attempts, _deliveries.c.due),
    *(_deliveries.c.held, _deliveries.c.manual, _deliveries.c.created, _deliveries.c.finished),
).join(_endpoints, _endpoints.c.id == _deliveries.c.endpoint)
_TRY = (
    *(_attempts.c.number, _attempts.c.manual, _attempts.c.started, _attempts.c.duration_ms),
    *(_attempts.c.status_code, _attempts.c.error, _attempts.c.response),
)


def _stored(row: Row[Any]) -> StoredDelivery:
    return StoredDelivery(
        id=row.id,
        workspace=row.workspace_id,
        batch=row.batch_id,
        run=row.run,
        event=row.event,
        endpoint=row.endpoint,
        place=row.place,
        state=State(row.state),
        attempts=row.attempts,
        due=row.due,
        held=row.held is not None,
        manual=row.manual,
        created=row.created,
        finished=row.finished,
    )
