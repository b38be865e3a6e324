"""Types whose records wait for a file, so that a test decides when they end, and that write down every run.

A record with the key `kills` takes its worker down, one with `output_bytes` makes a file of that size. `sleepy-loop`
runs on the event loop and holds it.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from handlers.contract import Box, Config, Facts, Output, Params, Record, RecordError, Spec

LOOK_SECONDS = 0.02
SETUP = "SLEEPY_SETUP_SECONDS"
"""Name of the environment variable that says how long a worker with these types takes to start."""


class NapParams(Params):
    """runs: the file that gets a line, the record's place in the batch, each time that a record begins.

    gate: the file that a record with the key `waits` waits for. stubborn: it does not look whether it is cancelled.
    """

    runs: str
    gate: str = ""
    stubborn: bool = False


class Sleepy:
    """The handler."""

    def setup(self, config: Config) -> None:
        time.sleep(float(os.environ.get(SETUP, "0")))

    def run(self, record: Record, params: NapParams, box: Box) -> Facts:
        with Path(params.runs).open("a") as runs:
            runs.write(f"{record.index}\n")
        if record.fields.get("kills"):
            os.kill(os.getpid(), signal.SIGKILL)
        while record.fields.get("waits") and not Path(params.gate).exists():
            if box.cancelled and not params.stubborn:
                raise RecordError(499, "cancelled")
            time.sleep(LOOK_SECONDS)
        if isinstance(size := record.fields.get("output_bytes"), int):
            return {"slept": True, "file": Output(bytes(size), "application/octet-stream", "file")}
        return {"slept": True}


class SleepyLoop:
    """The same on the event loop, which it does not give back before it ends."""

    def setup(self, config: Config) -> None:
        pass

    async def run(self, record: Record, params: NapParams, box: Box) -> Facts:
        return Sleepy().run(record, params, box)


SPEC = Spec(
    type="sleepy",
    endpoints={"nap": NapParams},
    default_endpoint="nap",
    handler="sleepy:Sleepy",
    summary="Waits.",
)
LOOP = replace(SPEC, type="sleepy-loop", handler="sleepy:SleepyLoop")
