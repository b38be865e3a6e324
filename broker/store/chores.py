"""Chores: work of the whole fleet that one of its processes does at a time, e.g. the search for orphaned blobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Connection, bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from broker.store.clock import db_now
from broker.store.tables import ChoreRow, table

_chores = table(ChoreRow)


@dataclass(frozen=True, slots=True)
class Turn:
    """A process would do the chore `name`, which is to be done every `every_ms`."""

    name: str
    every_ms: int


def take_turn(connection: Connection, turns: Sequence[Turn]) -> list[bool]:
    """Whether it is this process's turn; then it is nobody else's for `every_ms`.

    Nobody tells when a chore has ended: one that takes longer overlaps with the next, and one whose process dies is
    done by the next. So it must be safe to do it twice at once, and to do it again.
    """
    statement = _take_statement(connection.dialect.name)
    return [connection.scalar(statement, {"name": turn.name, "every_ms": turn.every_ms}) is not None for turn in turns]


@lru_cache
def _take_statement(dialect: str) -> ReturningInsert[Any]:
    flavour = postgresql if dialect == "postgresql" else sqlite
    next_due = db_now() + bindparam("every_ms", type_=BigInteger)
    taken = flavour.insert(_chores).values(name=bindparam("name"), due=next_due)
    taken = taken.on_conflict_do_update(
        index_elements=["name"], set_={"due": next_due}, where=_chores.c.due <= db_now()
    )
    statement: ReturningInsert[Any] = taken.returning(_chores.c.name)
    return statement
