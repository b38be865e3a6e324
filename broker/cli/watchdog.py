"""A watchdog for code that holds a worker's event loop, or Python's global lock, and does not let go."""

from __future__ import annotations

import asyncio
import faulthandler

LOOK_SECONDS = 1.0


class Watchdog:
    """Ends the process with status 1 once its event loop has not turned for `seconds`; where it hung goes to stderr.

    It needs neither the loop nor the lock for that, unlike time limits, signals and all other threads. To others this
    is the crash of a worker. One a process: Python has a single timer of this kind.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def start(self) -> None:
        """Watch the running event loop until the process ends."""
        self._arm()
        asyncio.get_running_loop().call_later(LOOK_SECONDS, self.start)

    def shorten(self, seconds: float) -> None:
        """Wait no longer than that from now on, even if the loop is held already. A signal handler may call it."""
        self._seconds = min(self._seconds, seconds)
        self._arm()

    def _arm(self) -> None:
        faulthandler.dump_traceback_later(self._seconds, exit=True)
