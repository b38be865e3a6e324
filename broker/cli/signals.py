"""SIGINT and SIGTERM: the first one stops in good order; Ctrl-C after that, at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

EXIT_NOW = 130


def on_stop(stop: Callable[[], None]) -> None:
    """Call `stop` at the first signal; a SIGINT after it ends the process then and there. Needs the running event loop.

    A second SIGTERM is no impatience: a service manager signals a child besides its parent's signal.
    """
    loop = asyncio.get_running_loop()
    seen = False

    def handle(number: signal.Signals) -> None:
        nonlocal seen
        if seen and number == signal.SIGINT:
            os._exit(EXIT_NOW)
        if not seen:
            seen = True
            stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handle, number)
