"""The threads that handlers get by `asyncio.to_thread`: one that goes on for too long is told of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class HandlerThreads(ThreadPoolExecutor):
    """To be the default executor of an event loop. late: called on it when a call is not over after `patience` seconds.

    Nobody waits for such a call any more, as its handler's time is over, and nothing ends its thread.
    """

    def __init__(self, patience: float, late: Callable[[], None]) -> None:
        super().__init__(thread_name_prefix="to_thread")
        self._patience = patience
        self._late = late

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        call = super().submit(fn, *args, **kwargs)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._patience, self._look, call)

        def over(_: Future[T]) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(timer.cancel)

        call.add_done_callback(over)
        return call

    def _look(self, call: Future[T]) -> None:
        if call.running():
            self._late()
