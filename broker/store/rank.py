"""What claims order by, and the only place that decides it: the lowest rank first, then the lowest id."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import ColumnElement

Moment = TypeVar("Moment", int, ColumnElement[int])

CHILDREN = 2**52
"""Above every time in ms, below 2^53, so that a rank stays exact as a JSON number."""


def fresh_rank(now: Moment) -> Moment:
    """Of a batch that was accepted, or started again, at `now` in ms of `db_now()`: a number, or where one stands."""
    return now


def child_rank(parent: int) -> int:
    """Of a parent's children: after every fresh batch, however late it comes; those of an earlier parent first."""
    return CHILDREN + parent
