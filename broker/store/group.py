"""Writes that share a commit. Each begins in its turn or is withdrawn, whichever is first, and never both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")
R = TypeVar("R")
Operation: TypeAlias = Callable[[Connection, Sequence[T]], Sequence[R]]

Marked = TypeVar("Marked", bound=Operation[Any, Any])

BRIEF_BYTES = 256 * 1024
_brief: set[Operation[Any, Any]] = set()
_unflushed: set[Operation[Any, Any]] = set()
_single: dict[Operation[Any, Any], Callable[[Any], bool]] = {}

_deciding = Lock()
"""Beginning happens on a session's thread, withdrawing on the event loop's. Both are short."""


@dataclass(slots=True, eq=False)
class Write:
    """One item for an operation. `since`: when it began to wait for its turn, by the event loop's clock."""

    operation: Operation[Any, Any]
    item: Any
    weight: int
    done: asyncio.Future[Any]
    since: float
    begun: bool = False
    withdrawn: bool = False

    @property
    def waits(self) -> bool:
        return not self.begun and not self.withdrawn

    def wait_anew(self, since: float) -> None:
        """What was rolled back waits for another turn."""
        self.begun, self.since = False, since

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def succeed(self, result: Any) -> None:
        if not self.done.done():
            self.done.set_result(result)


def brief(operation: Marked) -> Marked:
    """Mark an operation that takes microseconds an item, as a rule: an event loop may do it."""
    _brief.add(operation)
    return operation


def is_brief(group: Sequence[Write]) -> bool:
    """Whether all of a group is."""
    return all(write.operation in _brief for write in group) and sum(write.weight for write in group) <= BRIEF_BYTES


def unflushed(operation: Marked) -> Marked:
    """Mark an operation that a power cut may undo where it ends all who know of it: on a database of one machine."""
    _unflushed.add(operation)
    return operation


def needs_flush(group: Sequence[Write]) -> bool:
    """Whether any of a group is to outlast a power cut."""
    return any(write.operation not in _unflushed for write in group)


def single(items: Callable[[Any], bool]) -> Callable[[Marked], Marked]:
    """Mark an operation that does all of its work by one statement, if it gets nothing but such items."""

    def mark(operation: Marked) -> Marked:
        _single[operation] = items
        return operation

    return mark


def is_single(group: Sequence[Write]) -> bool:
    """Whether all of a group is one statement, so that a server needs to be told of no transaction around it."""
    operation = group[0].operation
    such = _single.get(operation)
    return such is not None and all(write.operation is operation and such(write.item) for write in group)


def withdraw(writes: Iterable[Write], limit: float) -> list[Write]:
    """Withdraw those that have been waiting since `limit` or longer; they will not be applied. Returns them."""
    with _deciding:
        late = [write for write in writes if write.waits and write.since <= limit]
        for write in late:
            write.withdrawn = True
    return late


def apply(group: Sequence[Write], connection: Connection) -> list[Any]:
    """Begin what is not withdrawn, and call each operation once, with all its items, in order of first arrival.

    To be called inside a transaction. Returns the results in the group's order, None for what was withdrawn.
    """
    places: dict[Operation[Any, Any], list[int]] = {}
    with _deciding:
        for place, write in enumerate(group):
            if not write.withdrawn:
                write.begun = True
                places.setdefault(write.operation, []).append(place)
    results: list[Any] = [None] * len(group)
    for operation, mine in places.items():
        for place, result in zip(mine, operation(connection, [group[i].item for i in mine]), strict=True):
            results[place] = result
    return results
