"""Queries of `tallies`: how many batches are open, in which stretches of the list a page lies, adding up its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    bindparam,
    cast,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from broker.batches import Outcome, Status
from broker.store.columns import constant
from broker.store.tables import TallyRow, table

FOLD_PARTS = 10_000
LOCK = 7163840022
"""Any number will do, as long as nobody else in the database locks with it."""

_tallies = table(TallyRow)
_key = [column for column in _tallies.primary_key if column.name != "part"]
_counts = [column for column in _tallies.columns if not column.primary_key]
_LIVE = [_tallies.c[status.lower()] for status in Status if status is not Status.DONE]


async def count_open(connection: AsyncConnection, workspace: str) -> int:
    """How many batches of a workspace are not DONE, children among them."""
    return int(await connection.scalar(_OPEN, {"workspace": workspace}) or 0)


def _total(columns: Sequence[ColumnElement[int]]) -> ColumnElement[int]:
    total: ColumnElement[int] = columns[0]
    for column in columns[1:]:
        total = total + column
    return total


_OPEN = select(func.sum(_total(_LIVE))).where(_tallies.c.workspace_id == bindparam("workspace"))


@dataclass(frozen=True, slots=True)
class BatchFilter:
    """Which batches a list shows: of these workspaces, never children; None = any."""

    workspaces: tuple[str, ...]
    statuses: tuple[Status, ...] | None = None
    types: tuple[str, ...] | None = None
    dialects: tuple[str, ...] | None = None
    outcomes: tuple[Outcome, ...] | None = None

    @property
    def states(self) -> tuple[str, ...]:
        """The columns of `tallies` that count such batches."""
        live = [status.lower() for status in Status if status is not Status.DONE and self._has(status)]
        ended = [str(outcome) for outcome in Outcome if self.outcomes is None or outcome in self.outcomes]
        return (*(live if self.outcomes is None else ()), *(ended if self._has(Status.DONE) else ()))

    def _has(self, status: Status) -> bool:
        return self.statuses is None or status in self.statuses


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of `seq` in which some of a page's batches lie.

    before: those that the filter means and that the list shows before this stretch. total: all that it means.
    """

    number: int
    before: int
    total: int


async def find_stretches(connection: AsyncConnection, which: BatchFilter, offset: int, limit: int) -> list[Stretch]:
    """Where the page lies that begins at `offset`, the newest first; nowhere when it is empty."""
    if not which.states:
        return []
    statement = _stretches_statement(which.states, which.types is not None, which.dialects is not None)
    values = {"workspaces": which.workspaces, "types": which.types, "dialects": which.dialects}
    rows = await connection.execute(statement, {**values, "first": offset, "end": offset + limit})
    return [Stretch(*row) for row in rows]


@cache
def _stretches_statement(states: Sequence[str], types: bool, dialects: bool) -> Select[Any]:
    """Stretches that hold none do not count, so no more of them are looked at than there are batches up to the end."""
    mine: ColumnElement[int] = func.sum(_total([_tallies.c[state] for state in states]))
    meant = [_tallies.c.workspace_id.in_(bindparam("workspaces", expanding=True)), _tallies.c.child.is_(False)]
    meant += [_tallies.c.type.in_(bindparam("types", expanding=True))] if types else []
    meant += [_tallies.c.dialect.in_(bindparam("dialects", expanding=True))] if dialects else []
    stretches = (
        select(_tallies.c.stretch.label("number"), mine.label("mine"))
        .where(*meant)
        .group_by(_tallies.c.stretch)
        .having(mine > 0)
        .cte("stretches")
    )
    newest = select(stretches).order_by(stretches.c.number.desc()).limit(bindparam("end")).subquery("newest")
    until = func.sum(newest.c.mine).over(order_by=newest.c.number.desc(), rows=(None, 0))
    placed = select(newest.c.number, newest.c.mine, (until - newest.c.mine).label("before")).subquery("placed")
    total = select(func.sum(stretches.c.mine)).scalar_subquery()
    return (
        select(placed.c.number, cast(placed.c.before, BigInteger), cast(total, BigInteger))
        .where(placed.c.before < bindparam("end"), placed.c.before + placed.c.mine > bindparam("first"))
        .order_by(placed.c.number.desc())
    )


async def count_between(connection: AsyncConnection, workspaces: Sequence[str], first: int, last: int) -> int:
    """How many batches, whatever they are, these workspaces have from one stretch to another."""
    return int(await connection.scalar(_BETWEEN, {"workspaces": workspaces, "first": first, "last": last}) or 0)


_BETWEEN = select(func.sum(_total(_counts))).where(
    _tallies.c.workspace_id.in_(bindparam("workspaces", expanding=True)),
    _tallies.c.stretch.between(bindparam("first"), bindparam("last")),
)


def fold_tallies(connection: Connection, times: Sequence[None]) -> Sequence[None]:
    """Add up what statements on PostgreSQL have told, the oldest first, unless another process is about it."""
    if connection.dialect.name == "postgresql" and connection.scalar(_TRY_LOCK):
        folded = connection.execute(_FOLD, {"limit": FOLD_PARTS}).all()
        if gone := [tuple(row)[:-1] for row in folded if row.empty]:
            connection.execute(delete(_tallies).where(tuple_(*_key).in_(gone), _tallies.c.part == 0))
    return times


_is_told = _tallies.c.part > constant(0)
_told = select(_tallies.c.part).where(_is_told).order_by(_tallies.c.part)


def _fold() -> ReturningInsert[Any]:
    oldest = _told.limit(bindparam("limit"))
    told = delete(_tallies).where(_is_told, _tallies.c.part.in_(oldest)).returning(_tallies).cte("told")
    sums = [cast(func.sum(told.c[column.name]), BigInteger) for column in _counts]
    keys = [told.c[column.name] for column in _key]
    names = [column.name for column in (*_key, *_counts, _tallies.c.part)]
    added = insert(_tallies).from_select(names, select(*keys, *sums, literal(0)).group_by(*keys))
    grown = {column.name: column + added.excluded[column.name] for column in _counts}
    folded = added.on_conflict_do_update(index_elements=list(_tallies.primary_key), set_=grown)
    empty = ~or_(*(column != 0 for column in _counts))
    statement: ReturningInsert[Any] = folded.returning(*_key, empty.label("empty"))
    return statement


_FOLD = _fold()
_TRY_LOCK = select(func.pg_try_advisory_xact_lock(LOCK)).select_from(_told.limit(1).subquery())
"""No row where nothing is to be added up."""
