"""What an operation of the store promises: its answer, and what it changes, in Python instead of SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

from broker.batches import Overview
from broker.endpoints import Condition
from broker.store.group import Operation
from tests.stateful.board import Board, StoredBatch

T = TypeVar("T")
R = TypeVar("R")
ANY_ID = "any id"
"""Stands for an id that the store made up."""

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Broken(AssertionError):
    """A promise that was not kept."""


class About(int):
    """A time that the database took from its clock during the step: this, or as much later as the step lasted."""


@dataclass(frozen=True, slots=True)
class Act(Generic[T, R]):
    """One item for an operation of the store.

    promise: (the board before, the item, the answer) -> the board after; raises Broken for an answer that is not legal.
    told: what to do with the answer.
    """

    operation: Operation[T, R]
    item: T
    promise: Callable[[Board, T, R], Board]
    told: Callable[[R], None] = lambda _answer: None

    def __str__(self) -> str:
        return f"{self.operation.__name__}({self.item!r})"


def demand(condition: bool, problem: str, *seen: object) -> None:
    """Raises Broken with all that was seen unless the condition holds."""
    if not condition:
        raise Broken("\n    ".join([problem, *map(repr, seen)]))


def differences(expected: Board, seen: Board) -> Iterator[str]:
    """Where what is seen is not what was promised."""
    slack = seen.now - expected.now
    for name in ("batches", "results", "deliveries", "endpoints", "attempts"):
        yield from _differing_rows(name, getattr(expected, name), getattr(seen, name), slack)
    if expected.cursors != seen.cursors:
        yield f"cursors: {seen.cursors} instead of {expected.cursors}"
    if expected.paused != seen.paused:
        yield f"paused workspaces: {set(seen.paused)} instead of {set(expected.paused)}"


def _differing_rows(name: str, expected: Mapping[Any, Any], seen: Mapping[Any, Any], slack: int) -> Iterator[str]:
    for key in expected.keys() - seen.keys():
        yield f"{name} {key}: missing"
    for key in seen.keys() - expected.keys():
        yield f"{name} {key}: should not be there: {seen[key]}"
    for key in expected.keys() & seen.keys():
        if expected[key] is seen[key]:
            continue
        for field in fields(expected[key]):
            wanted, found = getattr(expected[key], field.name), getattr(seen[key], field.name)
            if not _fits(wanted, found, slack):
                yield f"{name} {key}: {field.name} is {found!r} instead of {wanted!r}"


def _fits(wanted: object, found: object, slack: int) -> bool:
    if isinstance(wanted, About):
        return isinstance(found, int) and wanted <= found <= wanted + slack
    if isinstance(wanted, Condition) and isinstance(found, Condition):
        return all(_fits(getattr(wanted, one.name), getattr(found, one.name), slack) for one in fields(wanted))
    if isinstance(wanted, tuple) and isinstance(found, tuple) and len(wanted) == len(found):
        return all(_fits(*both, slack) for both in zip(wanted, found, strict=True))
    return wanted in (found, ANY_ID)


def demand_overview(board: Board, overview: Overview) -> None:
    """Raises Broken unless an answer shows a batch as it stands on the board, a parent with its children."""
    batch = board.batches[overview.id]
    demand(
        (overview.status, overview.outcome, overview.run) == (batch.status, batch.outcome, batch.run), "a wrong view"
    )
    family: list[StoredBatch] = [batch, *board.children_of(batch.id)]
    results = [result for one in family for result in board.results_of(one.id).values()]
    good = sum(result.ok for result in results)
    counts = (sum(one.size for one in family), len(results), good, len(results) - good)
    seen = overview.counts
    demand((seen.records, seen.finished, seen.succeeded, seen.failed) == counts, f"{seen} instead of {counts}")
