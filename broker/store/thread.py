"""A thread that makes calls one after the other, and that a process which ends does not wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class CallThread:
    """An executor of one thread, but a daemon: a call that hangs, as a lock or a disk may, keeps no process alive."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        Thread(target=self._work, name=name, daemon=True).start()

    def call(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """What `function` returns or raises. Cancelled before its turn, it is not called."""
        outcome: Future[T] = Future()
        self._calls.put((function, outcome))
        return asyncio.wrap_future(outcome)

    def end(self) -> None:
        """Let the thread end after what was called before."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            function, outcome = call
            if outcome.set_running_or_notify_cancel():
                _settle(function, outcome)
            del call, function, outcome  # an idle thread holds on to no group of writes


def _settle(function: Callable[[], Any], outcome: Future[Any]) -> None:
    try:
        outcome.set_result(function())
    except BaseException as error:
        outcome.set_exception(error)
