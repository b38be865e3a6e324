"""Queries that look at batches of all dialects from above: how they stand and how many records are done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, ScalarSelect, Select, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.batches import Counts, Outcome, Overview, Status, is_id
from broker.store.pages import read_page
from broker.store.tables import BatchRow, ResultRow, table
from broker.store.tallies import BatchFilter

_batches, _results = table(BatchRow), table(ResultRow)
_children = _batches.alias("children")


def overviews_of(connection: Connection, ids: Sequence[str]) -> dict[str, Overview]:
    """How batches stand, by id, inside a transaction or out of one; those that are not there are left out."""
    return {row.id: _overview(row) for row in connection.execute(_LOOK.where(_batches.c.id.in_(ids)))}


async def find_overview(connection: AsyncConnection, name: str, workspaces: Sequence[str]) -> Overview | None:
    """The batch of one of these workspaces whose UUID or whose dialect's own id is `name`."""
    named = _batches.c.id == name.lower() if is_id(name) else _batches.c.external_id == name
    seen = _LOOK.where(named, _batches.c.workspace_id.in_(workspaces)).order_by(_batches.c.id.desc()).limit(1)
    row = (await connection.execute(seen)).first()
    return _overview(row) if row else None


async def list_overviews(
    connection: AsyncConnection, which: BatchFilter, offset: int, limit: int
) -> tuple[int, list[Overview]]:
    """(how many batches `which` has, those from `offset` on, the newest first); 0 and none where none is there."""
    count, rows = await read_page(connection, _LOOK, which, offset, limit)
    return count, [_overview(row) for row in rows]


def _of_parents(total: ScalarSelect[Any]) -> ColumnElement[int]:
    """What children add; batches that are no parents are not searched for any."""
    return case((_batches.c.pending.is_not(None), func.coalesce(total, 0)), else_=0)


def _records() -> ColumnElement[int]:
    sizes = select(func.sum(_children.c.size)).where(_children.c.parent_id == _batches.c.id)
    return _batches.c.size + _of_parents(sizes.scalar_subquery())


def _results_where(*conditions: ColumnElement[bool]) -> ColumnElement[int]:
    own = select(func.count()).select_from(_results).where(_results.c.batch_id == _batches.c.id, *conditions)
    theirs = (
        select(func.count())
        .select_from(_results.join(_children, _children.c.id == _results.c.batch_id))
        .where(_children.c.parent_id == _batches.c.id, *conditions)
    )
    return own.scalar_subquery() + _of_parents(theirs.scalar_subquery())


_LOOK: Select[Any] = select(
    _batches.c.id,
    _batches.c.external_id,
    _batches.c.workspace_id,
    _batches.c.dialect,
    _batches.c.type,
    _batches.c.endpoint,
    _batches.c.status,
    _batches.c.outcome,
    _batches.c.run,
    _batches.c.crashes,
    _batches.c.created,
    _batches.c.modified,
    _batches.c.finished,
    _records().label("records"),
    _results_where().label("results"),
    _results_where(_results.c.code >= 200, _results.c.code < 300).label("succeeded"),
)


def _overview(row: Row[Any]) -> Overview:
    return Overview(
        id=row.id,
        external_id=row.external_id,
        workspace=row.workspace_id,
        dialect=row.dialect,
        type=row.type,
        endpoint=row.endpoint,
        status=Status(row.status),
        outcome=Outcome(row.outcome) if row.outcome else None,
        run=row.run,
        crashes=row.crashes,
        created=row.created,
        modified=row.modified,
        finished=row.finished,
        counts=Counts(int(row.records), row.results, row.succeeded, row.results - row.succeeded),
    )
