"""Types whose records take no time; one of them notes when it was begun.

Lies here as pip leaves a package; on PYTHONPATH the broker finds its types.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from handlers.contract import Params, Spec

if TYPE_CHECKING:
    from handlers.contract import Box, Config, Facts, Record


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
