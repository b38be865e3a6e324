"""Types whose records take no time, of which one notes when it was begun, and one whose records take 20 ms of CPU.

Lies here as pip leaves a package; on PYTHONPATH the broker finds its types.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING

from handlers.contract import Params, Spec

if TYPE_CHECKING:
    from handlers.contract import Box, Config, Facts, Record

BUSY_SECONDS = 0.02


class NoParams(Params):
    """No parameters."""


class Nothing:
    """On the event loop, so that no thread has to be woken."""

    def setup(self, config: Config) -> None:
        """Nothing to prepare."""

    async def run(self, record: Record, params: NoParams, box: Box) -> Facts:
        return {}


class Noted(Nothing):
    """Appends a line to the file BENCH_STARTS: when it was called, in ns since 1970."""

    def setup(self, config: Config) -> None:
        """Open the file, if one is named."""
        path = os.environ.get("BENCH_STARTS", os.devnull)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    async def run(self, record: Record, params: NoParams, box: Box) -> Facts:
        now = time.time_ns()
        os.write(self._file, f"{record.fields['n']} {now}\n".encode())
        return {}


class Busy:
    """Computes on a thread, mostly without Python's global lock, as those do that work on pictures."""

    def setup(self, config: Config) -> None:
        """Something to compute on."""
        self._data = bytes(256 * 1024)

    def run(self, record: Record, params: NoParams, box: Box) -> Facts:
        end = time.thread_time() + BUSY_SECONDS
        while time.thread_time() < end:
            hashlib.sha256(self._data)
        return {"process": os.getpid()}


SPEC = Spec(
    type="nothing",
    endpoints={"nothing": NoParams},
    default_endpoint="nothing",
    handler="bench_types:Nothing",
    summary="Does nothing.",
)
NOTED = Spec(
    type="noted",
    endpoints={"noted": NoParams},
    default_endpoint="noted",
    handler="bench_types:Noted",
    summary="Notes when it was called.",
)
BUSY = Spec(
    type="busy",
    endpoints={"busy": NoParams},
    default_endpoint="busy",
    handler="bench_types:Busy",
    summary="Takes 20 ms of CPU.",
)
