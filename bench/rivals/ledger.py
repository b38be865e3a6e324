"""The books of a rival's worker: what ran, from when to when; in a file once all has run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

URL = "BENCH_REDIS_URL"
JOBS = "BENCH_JOBS"
LEDGER = "BENCH_LEDGER"


class Ledger:
    """Kept by the job itself, in its process. first, last: seconds of a monotonic clock."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._path = Path(environment[LEDGER])
        self._jobs = int(environment[JOBS])
        self._numbers: set[int] = set()
        self._runs = 0
        self._first = 0.0

    def ran(self, number: int) -> None:
        """A job has run. What runs after the last one is told too: it ran twice."""
        now = time.monotonic()
        if not self._runs:
            self._first = now
        self._runs += 1
        self._numbers.add(number)
        if len(self._numbers) == self._jobs:
            draft = self._path.with_suffix(".draft")
            draft.write_text(json.dumps({"first": self._first, "last": now, "runs": self._runs}))
            draft.replace(self._path)
