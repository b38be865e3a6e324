"""How a handler's code is called: so that nothing but its record can fail, and that it can be left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from threading import Thread
from typing import Any

from msgspec import Struct

from broker.work.clock import Clock
from broker.work.isolate import Errand
from handlers.contract import RecordError


class HandlerLeft(Exception):
    """A handler ended by something that is meant for whole programs or tasks: sys.exit(), a cancellation of its own."""


class Call(Struct, frozen=True):
    """A handler's code that runs.

    ended: its end; for others to look at, not to cancel. cancel: tells it that its result is no longer wanted.
    kill: ends it now that its time is over. killable: whether that works on code that heeds nothing.
    """

    ended: asyncio.Future[Any]
    cancel: Callable[[], object]
    kill: Callable[[], object]
    killable: bool = False


def on_loop(work: Coroutine[Any, Any, Any]) -> Call:
    """A coroutine heeds both by its cancellation."""
    task = asyncio.ensure_future(_contained(work))
    return Call(task, task.cancel, task.cancel)


def on_thread(work: Callable[[], Any]) -> Call:
    """On a new thread, which does not keep the process from ending. It cannot be made to end."""
    return Call(_thread(work), _nothing, _nothing)


def isolated(errand: Errand, grace: float) -> Call:
    """In another process, which may end its work by itself for `grace` seconds after a cancellation."""
    loop = asyncio.get_running_loop()

    def cancel() -> None:
        errand.cancel()
        loop.call_later(grace, errand.kill)

    return Call(_thread(errand.run), cancel, errand.kill, killable=True)


async def outcome(call: Call, clock: Clock, limit: float) -> Any:
    """What the handler returns or raises; HandlerLeft, and RecordError 504 when the time is over.

    Nobody waits for work that is over its time or no longer wanted.
    """
    try:
        await _either(call.ended, clock.over)
    except asyncio.CancelledError:
        end = call.cancel if clock.left else call.kill  # no time left: that of the handler around it is over
        end()
        raise
    if not call.ended.done():
        call.kill()
        raise RecordError(504, f"the record took longer than {limit:g} s")
    if call.ended.cancelled():
        raise HandlerLeft("the handler cancelled itself")
    return call.ended.result()


async def _either(one: asyncio.Future[Any], other: asyncio.Future[Any]) -> None:
    """Until one of them is done. What `asyncio.wait` does, at a third of its cost, since each record waits here."""
    if one.done() or other.done():
        return
    first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(_: asyncio.Future[Any]) -> None:
        if not first.done():
            first.set_result(None)

    one.add_done_callback(wake)
    other.add_done_callback(wake)
    try:
        await first
    finally:
        one.remove_done_callback(wake)
        other.remove_done_callback(wake)


def _thread(work: Callable[[], Any]) -> asyncio.Future[Any]:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Any] = loop.create_future()

    def run() -> None:
        try:
            end, value = ended.set_result, work()
        except BaseException as error:
            end, value = ended.set_exception, _containable(error)
        with suppress(RuntimeError):  # the loop is closed: this thread was left behind
            loop.call_soon_threadsafe(end, value)

    Thread(target=run, name="handler", daemon=True).start()
    return ended


async def _contained(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await work
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        raise _containable(error) from error


def _containable(error: BaseException) -> Exception:
    """An exception that a future can hold."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    left = HandlerLeft(type(error).__name__)
    left.__cause__ = error
    return left


def _nothing() -> None:
    """A thread that runs heeds nothing but its box."""
