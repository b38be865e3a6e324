"""The one way into the database for writes: all that arrive while a commit runs share the next one.

An operation is a plain function `(connection, items) -> results`, one result an item. The writer calls it once for all
items of a group, inside one transaction. A group that fails is replayed item by item, so that no row fails its
neighbours; an outage fails the group at once with `Unavailable`. So does a wait of PATIENCE seconds that brought no
turn, for a lock that somebody holds or a commit that hangs: such a write is withdrawn, and certainly not applied later.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeAlias, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from broker.errors import Unavailable
from broker.store.group import Operation, Write, apply, is_brief, is_single, needs_flush, withdraw
from broker.store.outage import is_outage, reason

T = TypeVar("T")
R = TypeVar("R")
Work: TypeAlias = Callable[[Connection], list[Any]]

GROUP_ROWS = 500
GROUP_BYTES = 4 * 1024 * 1024
MAX_WAITING_BYTES = 128 * 1024 * 1024
PATIENCE = 5.0
CLOCK_SLACK = 0.01
DEADLOCK = "40P01"

log = structlog.get_logger()


class NotBrief(Exception):
    """Work that was said to be brief took too long; it is rolled back."""


class Session(Protocol):
    """One connection that writes: runs `work` in a transaction and commits before it returns.

    brief: it takes so little time that the event loop may do it; raises NotBrief. flush: to disk, before it returns, as
    a power cut must not undo it. single: it is one statement.
    """

    def transact(
        self, work: Work, *, brief: bool = False, flush: bool = True, single: bool = False
    ) -> Awaitable[list[Any]]: ...

    def close(self) -> Awaitable[None]: ...


class Writer:
    """Groups writes onto a session. Start it in a running event loop; it owns the session from then on."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: deque[Write] = deque()
        self._waiting_bytes = 0
        self._in_flight: Sequence[Write] = ()
        self._ready = asyncio.Event()
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.TimerHandle | None = None
        self._task = asyncio.create_task(self._flush_until_closed(), name="writer")

    async def write(self, operation: Operation[T, R], item: T, *, weight: int = 500) -> R:
        """Apply `operation` to `item`; returns after the commit. `weight` is about how many bytes it writes.

        Raises Unavailable when the database cannot take it or too much is waiting, and what the operation raises. What
        was Unavailable is stored all the same only where the statement that commits had been sent and was not answered.
        """
        if self._closing or self._waiting_bytes > MAX_WAITING_BYTES:
            raise Unavailable(retry_after=1)
        write = Write(operation, item, weight, self._loop.create_future(), self._loop.time())
        self._waiting.append(write)
        self._waiting_bytes += weight
        self._ready.set()
        if self._watch is None:
            self._watch = self._loop.call_later(PATIENCE, self._withdraw_late)
        result: R = await write.done
        return result

    async def aclose(self) -> None:
        """Commit what is waiting, then let go of the connection."""
        self._closing = True
        self._ready.set()
        self._await_nothing_in_vain()
        with suppress(asyncio.CancelledError):
            await self._task
        if self._watch is not None:
            self._watch.cancel()
        await self._session.close()

    async def _flush_until_closed(self) -> None:
        while self._waiting or not self._closing:
            await self._ready.wait()
            if group := self._take():
                await self._commit(group)
                self._in_flight = ()
            if not self._waiting and not self._closing:
                self._ready.clear()

    def _take(self) -> list[Write]:
        group: list[Write] = []
        weight = 0
        while self._waiting and len(group) < GROUP_ROWS and weight < GROUP_BYTES:
            write = self._waiting.popleft()
            weight += write.weight
            group.append(write)
        self._waiting_bytes -= weight
        return group

    async def _commit(self, group: list[Write], *, again: bool = True, brief: bool = True) -> None:
        self._in_flight = group
        try:
            results = await self._session.transact(
                partial(apply, group),
                brief=brief and is_brief(group),
                flush=needs_flush(group),
                single=is_single(group),
            )
        except NotBrief:
            self._wait_anew(group)
            await self._commit(group, again=again, brief=False)
            return
        except Exception as error:
            await self._recover(group, error, again=again)
            return
        for write, result in zip(group, results, strict=True):
            write.succeed(result)

    async def _recover(self, group: list[Write], error: Exception, *, again: bool) -> None:
        if _is_deadlock(error) and again:
            self._wait_anew(group)
            await self._commit(group, again=False)
        elif is_outage(error):
            self._refuse(group, type(error).__name__, reason(error))
        elif len(group) == 1:
            group[0].fail(error)
        else:
            for write in group:
                self._wait_anew([write])
                await self._commit([write])

    def _wait_anew(self, group: Sequence[Write]) -> None:
        for write in group:
            write.wait_anew(self._loop.time())

    def _refuse(self, writes: Sequence[Write], error: str, reason: str) -> None:
        log.warning("store.unavailable", error=error, reason=reason, writes=len(writes))
        for write in writes:
            write.fail(Unavailable(retry_after=1))

    def _withdraw_late(self) -> None:
        """Refuse what has waited for PATIENCE, and come again when that may be true of the next."""
        limit = self._loop.time() - PATIENCE + CLOCK_SLACK
        late = withdraw(self._in_flight, limit)
        while self._waiting and self._waiting[0].since <= limit:
            late.append(self._waiting.popleft())
            self._waiting_bytes -= late[-1].weight
        if late:
            self._refuse(late, "Withdrawn", f"no turn within {PATIENCE:g} s")
        self._await_nothing_in_vain()
        since = [write.since for write in (*self._in_flight, *islice(self._waiting, 1)) if write.waits]
        self._watch = self._loop.call_at(min(since) + PATIENCE, self._withdraw_late) if since else None

    def _await_nothing_in_vain(self) -> None:
        """Once closing, no turn is waited for when all that wanted it was withdrawn."""
        if self._closing and not self._waiting and self._in_flight and all(w.withdrawn for w in self._in_flight):
            self._task.cancel()


def _is_deadlock(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == DEADLOCK
