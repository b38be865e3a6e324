"""What runs in the background of a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from broker.bootstrap.core import Core
from broker.complete import Complete
from broker.work.sweep import Sweep

log = structlog.get_logger()


def new_sweep(core: Core, complete: Complete) -> Sweep:
    return Sweep(core.database, core.nudger, complete, core.settings.lease_seconds, core.settings.max_crashes)


@asynccontextmanager
async def running(part: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """A caretaker that runs in the background meanwhile."""
    task = asyncio.create_task(_keep_running(part), name=part.__qualname__)
    try:
        yield
    finally:
        await _end(task)


async def _keep_running(part: Callable[[], Awaitable[None]]) -> None:
    """A caretaker that fails begins anew: nobody else does its work in this process."""
    while True:
        try:
            await part()
        except Exception:
            log.exception("task.crashed", task=part.__qualname__)
            await asyncio.sleep(1)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
