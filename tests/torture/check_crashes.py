"""Checks crashes: none is counted against a batch whose worker was well, as after one that gave it back."""

from __future__ import annotations

from collections.abc import Iterator

from tests.torture.evidence import Evidence
from tests.torture.history import Line
from tests.torture.violations import Violation, Word

NOTICED_MS = 10_000
"""The longest from what befalls a worker until the sweep finds its leases over."""


def check_crashes(evidence: Evidence) -> Iterator[Violation]:
    """Whoever held the batch was killed, stopped for a while or harmed by a record, or could not keep its lease."""
    for batch in evidence.lines:
        for crash in evidence.crashes_of(batch):
            if not _is_accounted_for(evidence, crash):
                what = f"crash {crash.crashes} is of worker {crash.worker}, which nothing had befallen"
                yield Violation(Word.CRASH_COUNTED, batch, what)


def _is_accounted_for(evidence: Evidence, crash: Line) -> bool:
    befallen = evidence.kept_from_recording(crash.worker, crash.at - NOTICED_MS, crash.at)
    return befallen or crash.worker in evidence.harmed
