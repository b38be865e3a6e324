"""A page of a list of batches, by its place: the stretches that it lies in are found by tallies, no row is counted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Text, bindparam, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.store.tables import BatchRow, table
from broker.store.tallies import BatchFilter, count_between, find_stretches
from broker.store.tally_triggers import STRETCH_BITS

_batches = table(BatchRow)
_FILTERS = {"type": "types", "dialect": "dialects", "status": "statuses", "outcome": "outcomes"}
"""Each column that may be asked for -> the filter's name of its values."""
FEW = 2 << STRETCH_BITS
"""So many batches are read in a few milliseconds."""


async def read_page(
    connection: AsyncConnection, look: Select[Any], which: BatchFilter, offset: int, limit: int
) -> tuple[int, list[Row[Any]]]:
    """(how many batches `which` has, those from `offset` on as rows of `look`, the newest first, at most `limit`).

    0 and none where no batch is there, at `offset` or at all.
    """
    stretches = await find_stretches(connection, which, offset, limit)
    if not stretches:
        return 0, []
    names = tuple(name for name, values in _FILTERS.items() if getattr(which, values) is not None)
    values = {"workspace_id": which.workspaces, **{name: getattr(which, _FILTERS[name]) for name in names}}
    statement = _within_statement(look, names, connection.dialect.name)
    rows: list[Row[Any]] = []
    skip = offset - stretches[0].before
    for newest, oldest in await _spans(connection, which.workspaces, [stretch.number for stretch in stretches]):
        bounds = {"first": oldest << STRETCH_BITS, "end": (newest + 1) << STRETCH_BITS}
        page = {"skip": skip, "limit": limit - len(rows)}
        rows += await connection.execute(statement, values | bounds | page)
        skip = 0
    return stretches[0].total, rows


async def _spans(
    connection: AsyncConnection, workspaces: Sequence[str], stretches: Sequence[int]
) -> Sequence[tuple[int, int]]:
    """(newest, oldest) of stretches that are read in one go: all, unless there is too much to read between them."""
    whole = (stretches[0], stretches[-1])
    if whole[0] - whole[1] <= 1 or await count_between(connection, workspaces, *reversed(whole)) <= FEW:
        return [whole]
    return [(number, number) for number in stretches]


@cache
def _within_statement(look: Select[Any], names: Sequence[str], dialect: str) -> Select[Any]:
    """The rows that are skipped are skipped in the index, where that is enough to know them.

    PostgreSQL, if the key gave the order, would walk all workspaces' rows by it to have few of one without a sort; and
    so it would for a kind, as 18 counts a descent of the index for every `seq` before one.
    """
    seq, *kinds = (
        _computed(_batches.c[name]) if dialect == "postgresql" else _batches.c[name] for name in ("seq", *names)
    )
    wanted = (
        select(_batches.c.seq)
        .where(
            _batches.c.seq >= bindparam("first"),
            _batches.c.seq < bindparam("end"),
            _batches.c.parent_id.is_(None),
            _batches.c.workspace_id.in_(bindparam("workspace_id", expanding=True)),
            *(kind.in_(bindparam(name, expanding=True)) for name, kind in zip(names, kinds, strict=True)),
        )
        .order_by(seq.desc())
        .limit(bindparam("limit"))
        .offset(bindparam("skip"))
    )
    return look.where(_batches.c.seq.in_(wanted)).order_by(_batches.c.seq.desc())


def _computed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The same value, by which no index is searched."""
    nothing: ColumnElement[Any] = literal_column("''" if isinstance(column.type, Text) else "0")
    return column + nothing
