"""SIGINT and SIGTERM: the first one stops in good order, a second one now."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Timer

import structlog

SAME_SECONDS = 2.0
HURRY_SECONDS = 3.0

log = structlog.get_logger()


def on_stop(
    stop: Callable[[], object], hurry: Callable[[], object], *, at_once: Callable[[], object] = lambda: None
) -> None:
    """Call `stop` at the first signal and `hurry` at the second, both on the running event loop.

    at_once: called at the first signal too, in the signal handler, which code that holds the loop does not delay.

    After the second the process ends within HURRY_SECONDS, with the status that shells give to a signal, unless it has
    ended in good order by then, which takes the milliseconds of giving batches back; a handler that holds the event
    loop cannot prevent it. A SIGTERM soon after the first signal counts as the same one: service managers signal a
    child besides its parent, which passes the signal on.
    """
    loop = asyncio.get_running_loop()
    stopped_at: float | None = None

    def begin_to_stop(number: int) -> None:
        log.info("process.stopping", signal=signal.Signals(number).name)
        stop()

    def handle(number: int, _frame: object) -> None:
        nonlocal stopped_at
        now = time.monotonic()
        with suppress(RuntimeError):  # the loop is closed: the process is ending anyway
            if stopped_at is None:
                stopped_at = now
                at_once()
                loop.call_soon_threadsafe(begin_to_stop, number)
            elif number != signal.SIGTERM or now - stopped_at > SAME_SECONDS:
                end_soon(128 + number)
                loop.call_soon_threadsafe(hurry)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)


def end_soon(status: int) -> None:
    """End the process with this status in HURRY_SECONDS, if it has not ended by then."""
    timer = Timer(HURRY_SECONDS, os._exit, (status,))
    timer.daemon = True
    timer.start()
