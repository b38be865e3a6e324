"""Broken builds of the broker, each without one of the things that keep its promises. Only for the test of the test."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Engine, event

from broker.store.batches import insert_batches
from broker.store.crashes import Rescued
from broker.store.writer import Writer
from broker.work.held import Held
from broker.work.sweep import Sweep

LATE_SECONDS = 1.0
_FENCE = re.compile(r"batches\.lease_seq = given\.seq")


def without_fencing() -> None:
    """Whoever had a lease once may write, and a worker does not let go of a lease that may be over."""
    _replace(Held, "lose", _never_lose)
    event.listen(Engine, "before_cursor_execute", _unfence, retval=True)


def _never_lose(_held: Held, _lease: object) -> bool:
    return False


def _unfence(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> Any:
    """Let no statement compare the number of the lease, and let those that only look say that it is the one given."""
    if statement.startswith("SELECT") and _FENCE.search(statement):
        return statement.replace("batches.lease_seq", "given.seq"), parameters
    return _FENCE.sub("given.seq = given.seq", statement), parameters


def without_sweep() -> None:
    """What a dead worker leaves behind stays there."""
    _replace(Sweep, "_rescue", _rescue_nothing)


async def _rescue_nothing(_sweep: Sweep) -> Sequence[Rescued]:
    return ()


def without_commit_order() -> None:
    """A POST is answered, and its nudge rung, a second before its batch is committed."""
    write = Writer.write
    late: set[asyncio.Task[Any]] = set()

    async def answer_first(writer: Writer, operation: Any, item: Any, *, weight: int = 500) -> Any:
        if operation is not insert_batches:
            return await write(writer, operation, item, weight=weight)

        async def write_late() -> None:
            await asyncio.sleep(LATE_SECONDS)
            await write(writer, operation, item, weight=weight)

        task = asyncio.create_task(write_late())
        late.add(task)
        task.add_done_callback(late.discard)
        return time.time_ns() // 1_000_000

    _replace(Writer, "write", answer_first)


def _replace(owner: type, name: str, function: Callable[..., object]) -> None:
    assert hasattr(owner, name), f"{owner.__name__} has no {name} any more"
    setattr(owner, name, function)


BUILDS: dict[str, Callable[[], None]] = {
    "without-fencing": without_fencing,
    "without-sweep": without_sweep,
    "without-commit-order": without_commit_order,
}
