"""Checks crashes: none is counted of a worker that was well, nor of one that gave its batch back."""

from __future__ import annotations

from collections.abc import Iterator

from tests.torture.evidence import Evidence
from tests.torture.history import Line
from tests.torture.violations import Violation, Word

NOTICED_MS = 10_000
"""The longest from what befalls a worker until the sweep finds its leases over."""
ROUNDING_MS = 5


def check_crashes(evidence: Evidence) -> Iterator[Violation]:
    """Whoever held the batch was killed, stopped for a while or harmed by a record, or could not keep its lease; or one
    of its records killed or held up the process that was the record's alone, which the worker tells itself.
    """
    for batch in evidence.lines:
        for crash in evidence.crashes_of(batch):
            if not _is_accounted_for(evidence, crash):
                over = crash.at - (crash.lease_until or 0)
                what = f"crash {crash.crashes} of worker {crash.worker}, {over} ms after the end of its lease"
                yield Violation(Word.CRASH_COUNTED, batch, what)


def _is_accounted_for(evidence: Evidence, crash: Line) -> bool:
    if crash.lease_until is None or crash.at + ROUNDING_MS < crash.lease_until:
        batch = evidence.batches.get(crash.batch)
        return batch is not None and batch.number in evidence.harmful
    befallen = evidence.kept_from_recording(crash.worker, crash.at - NOTICED_MS, crash.at)
    return befallen or crash.worker in evidence.harmed
