"""Checks what was accepted against what is there: every batch DONE, none too many, as often as it was asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from broker.batches import Outcome, Status, outcome_of
from tests.torture.evidence import BatchSeen, Evidence
from tests.torture.load import Posted
from tests.torture.violations import Violation, Word


def check_accepted(evidence: Evidence) -> Iterator[Violation]:
    """Every accepted POST is there, once, and DONE; no other batch is."""
    for posted in evidence.posted:
        number = f"batch number {posted.work.number}"
        for refusal in posted.refusals:
            yield Violation(Word.REFUSED, number, refusal)
        if len(set(posted.ids)) > 1:
            yield Violation(Word.PHANTOM, number, f"one key was answered with several ids: {', '.join(posted.ids)}")
        for id in dict.fromkeys(posted.ids):
            batch = evidence.batches.get(id)
            if batch is None:
                yield Violation(Word.NEVER_COMMITTED, id, f"{number} was accepted")
            elif batch.status != Status.DONE:
                yield Violation(Word.LOST, id, f"{number} is {batch.status}")
            else:
                yield from _check_end(evidence, posted, batch)
    yield from _check_phantoms(evidence)


def _check_end(evidence: Evidence, posted: Posted, batch: BatchSeen) -> Iterator[Violation]:
    """Cancelled if that was granted and not retried since; run as often as retries were granted."""
    least, most = 1 + posted.retried, 1 + posted.asked
    if not least <= batch.run <= most:
        yield Violation(Word.RUN_WRONG, batch.id, f"is at run {batch.run}, not {least}..{most}")
    cancelled = batch.id in evidence.cancelled and batch.run == 1
    right = Outcome.CANCELLED if cancelled else outcome_of(evidence.results.get(batch.id, ()))
    if batch.outcome != right:
        yield Violation(Word.OUTCOME_WRONG, batch.id, f"is {batch.outcome}, not {right}")


def _check_phantoms(evidence: Evidence) -> Iterator[Violation]:
    of_number: defaultdict[int | None, list[BatchSeen]] = defaultdict(list)
    for batch in evidence.batches.values():
        of_number[batch.number].append(batch)
    for number, batches in of_number.items():
        if number not in evidence.works:
            yield from (Violation(Word.PHANTOM, batch.id, "nobody posted it") for batch in batches)
        elif len(batches) > 1:
            yield Violation(Word.PHANTOM, batches[0].id, f"number {number} has {len(batches)} batches")
