"""SIGINT and SIGTERM: the first one stops in good order, the second one at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

EXIT_NOW = 130


def on_stop(stop: Callable[[], None]) -> None:
    """Call `stop` at the first signal; the second ends the process then and there. Needs the running event loop."""
    seen = False

    def handle() -> None:
        nonlocal seen
        if seen:
            os._exit(EXIT_NOW)
        seen = True
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, handle)
