"""Queries that look at endpoints: one, a page of them, how many deliveries each is owed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.endpoints import Condition, Health
from broker.store.clock import db_now
from broker.store.endpoints import condition_of
from broker.store.tables import DeliveryRow, EndpointRow, table

_endpoints, _deliveries = table(EndpointRow), table(DeliveryRow)


@dataclass(frozen=True, slots=True)
class EndpointFilter:
    """Which endpoints a list shows: of these workspaces; states None = any."""

    workspaces: tuple[str, ...]
    states: tuple[Health, ...] | None = None


@dataclass(frozen=True, slots=True)
class StoredEndpoint:
    """An endpoint as it stood at `now`. place: its URL without query in a box; pending: deliveries that it is owed.

    Times in ms since 1970.
    """

    id: str
    workspace: str
    place: bytes
    condition: Condition
    pending: int
    created: int
    now: int


async def find_endpoint(connection: AsyncConnection, id: str, workspaces: Collection[str]) -> StoredEndpoint | None:
    """The endpoint of this id, if it belongs to one of these workspaces."""
    found = await _stored(connection, _LOOK.where(_endpoints.c.id == id, _endpoints.c.workspace_id.in_(workspaces)))
    return found[0] if found else None


async def list_endpoints(
    connection: AsyncConnection, which: EndpointFilter, offset: int, limit: int
) -> list[StoredEndpoint]:
    """Endpoints of `which`, the newest first."""
    newest = _LOOK.where(*_conditions(which)).order_by(_endpoints.c.created.desc(), _endpoints.c.id)
    return await _stored(connection, newest.offset(offset).limit(limit))


async def count_endpoints(connection: AsyncConnection, which: EndpointFilter) -> int:
    """How many endpoints `which` has."""
    return int(await connection.scalar(select(func.count()).select_from(_endpoints).where(*_conditions(which))) or 0)


async def _stored(connection: AsyncConnection, statement: Select[Any]) -> list[StoredEndpoint]:
    rows = (await connection.execute(statement)).all()
    pending = await _pending(connection, [row.id for row in rows])
    return [
        StoredEndpoint(
            id=row.id,
            workspace=row.workspace_id,
            place=row.place,
            condition=condition_of(row),
            pending=pending.get(row.id, 0),
            created=row.created,
            now=row.now,
        )
        for row in rows
    ]


async def _pending(connection: AsyncConnection, ids: Collection[str]) -> Mapping[str, int]:
    """Endpoint -> deliveries that are due or held back."""
    if not ids:
        return {}
    owed = union_all(*(_owed(column, ids) for column in (_deliveries.c.due, _deliveries.c.held))).subquery()
    counts = select(owed.c.endpoint, func.sum(owed.c.count)).group_by(owed.c.endpoint)
    return {endpoint: int(count) for endpoint, count in await connection.execute(counts)}


def _owed(column: ColumnElement[Any], ids: Collection[str]) -> Select[Any]:
    """Apart, as `due` and `held` have each a partial index: the whole one leads to all that was ever sent there."""
    return (
        select(_deliveries.c.endpoint, func.count().label("count"))
        .where(column.is_not(None), _deliveries.c.endpoint.in_(ids))
        .group_by(_deliveries.c.endpoint)
    )


def _conditions(which: EndpointFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [_endpoints.c.workspace_id.in_(which.workspaces)]
    return conditions if which.states is None else [*conditions, _endpoints.c.state.in_(which.states)]


_LOOK = select(_endpoints, db_now().label("now"))
