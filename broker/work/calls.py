"""How a handler's code is called: within its time limit, and so that nothing but its record can fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar

from handlers.contract import RecordError

T = TypeVar("T")


class HandlerLeft(Exception):
    """A handler ended by something that is meant for whole programs or tasks: sys.exit(), a cancellation of its own."""


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns or raises; HandlerLeft instead of SystemExit, RecordError 504 when the time is over.

    Nobody waits for work that is over its time or no longer wanted: a coroutine is cancelled, a thread left alone.
    """
    task = asyncio.ensure_future(_contained(work))
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise RecordError(504, f"the record took longer than {seconds:g} s")
        if task.cancelled():
            raise HandlerLeft("the handler cancelled itself")
        return task.result()
    finally:
        task.cancel()


async def on_thread(work: Callable[[], T]) -> T:
    """Run blocking code on a new thread, which does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()

    def end(result: T | None, error: BaseException | None) -> None:
        if not ended.done():
            ended.set_result((result, error))

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop is closed: this thread was left alone
            loop.call_soon_threadsafe(end, result, error)

    Thread(target=run, name="handler", daemon=True).start()
    result, error = await ended
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


async def _contained(work: Coroutine[Any, Any, T]) -> T:
    try:
        return await work
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        raise HandlerLeft(type(error).__name__) from error
