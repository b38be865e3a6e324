"""The one way into the database for writes: all that arrive while a commit runs share the next one.

An operation is a plain function `(connection, items) -> results`, one result an item. The writer calls it once for all
items of a group, inside one transaction. A group that fails is replayed item by item, so that no row fails its
neighbours; an outage fails the group at once with `Unavailable`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from broker.errors import Unavailable
from broker.store.outage import is_outage, reason

T = TypeVar("T")
R = TypeVar("R")
Operation: TypeAlias = Callable[[Connection, Sequence[T]], Sequence[R]]
Work: TypeAlias = Callable[[Connection], list[Any]]

GROUP_ROWS = 500
GROUP_BYTES = 4 * 1024 * 1024
MAX_WAITING_BYTES = 128 * 1024 * 1024
DEADLOCK = "40P01"

log = structlog.get_logger()


class Session(Protocol):
    """One connection that writes: runs `work` in a transaction and commits, flushed to disk, before it returns."""

    def transact(self, work: Work) -> Awaitable[list[Any]]: ...

    def close(self) -> Awaitable[None]: ...


@dataclass(slots=True, eq=False)
class _Write:
    operation: Operation[Any, Any]
    item: Any
    weight: int
    done: asyncio.Future[Any]


class Writer:
    """Groups writes onto a session. Start it in a running event loop; it owns the session from then on."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: deque[_Write] = deque()
        self._waiting_bytes = 0
        self._ready = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._flush_until_closed(), name="writer")

    async def write(self, operation: Operation[T, R], item: T, *, weight: int = 500) -> R:
        """Apply `operation` to `item`; returns after the commit. `weight` is about how many bytes it writes.

        Raises Unavailable when the database cannot take it or too much is waiting, and what the operation raises.
        """
        if self._closing or self._waiting_bytes > MAX_WAITING_BYTES:
            raise Unavailable(retry_after=1)
        write = _Write(operation, item, weight, asyncio.get_running_loop().create_future())
        self._waiting.append(write)
        self._waiting_bytes += weight
        self._ready.set()
        result: R = await write.done
        return result

    async def aclose(self) -> None:
        """Commit what is waiting, then let go of the connection."""
        self._closing = True
        self._ready.set()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._session.close()

    async def _flush_until_closed(self) -> None:
        while self._waiting or not self._closing:
            await self._ready.wait()
            if group := self._take():
                await self._commit(group)
            if not self._waiting and not self._closing:
                self._ready.clear()

    def _take(self) -> list[_Write]:
        group: list[_Write] = []
        weight = 0
        while self._waiting and len(group) < GROUP_ROWS and weight < GROUP_BYTES:
            write = self._waiting.popleft()
            weight += write.weight
            group.append(write)
        self._waiting_bytes -= weight
        return group

    async def _commit(self, group: list[_Write], *, again: bool = True) -> None:
        try:
            results = await self._session.transact(partial(_apply, group))
        except Exception as error:
            await self._recover(group, error, again=again)
            return
        for write, result in zip(group, results, strict=True):
            if not write.done.done():
                write.done.set_result(result)

    async def _recover(self, group: list[_Write], error: Exception, *, again: bool) -> None:
        if _is_deadlock(error) and again:
            await self._commit(group, again=False)
        elif is_outage(error):
            log.warning("store.unavailable", error=type(error).__name__, reason=reason(error), writes=len(group))
            _fail(group, Unavailable(retry_after=1))
        elif len(group) == 1:
            _fail(group, error)
        else:
            for write in group:
                await self._commit([write])


def _apply(group: list[_Write], connection: Connection) -> list[Any]:
    """Call each operation once, with all its items, in order of first arrival; results in the group's order."""
    places: dict[Operation[Any, Any], list[int]] = {}
    for place, write in enumerate(group):
        places.setdefault(write.operation, []).append(place)
    results: list[Any] = [None] * len(group)
    for operation, mine in places.items():
        for place, result in zip(mine, operation(connection, [group[i].item for i in mine]), strict=True):
            results[place] = result
    return results


def _fail(group: list[_Write], error: Exception) -> None:
    for write in group:
        if not write.done.done():
            write.done.set_exception(error)


def _is_deadlock(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == DEADLOCK
