"""Checks tries: none without its row, no two of one webhook at once, and in the end every webhook was thanked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from broker.deliveries import State
from tests.torture.check_webhooks import DELIVERY_LEASE_MS, ROUNDING_MS, by_id
from tests.torture.customer import Mood
from tests.torture.evidence import AttemptSeen, Evidence
from tests.torture.violations import Violation, Word

THANKS = (Mood.GOOD, Mood.SLOW, Mood.LATE)
"""LATE comes in time for a sender that was stopped meanwhile: its clock may look at the answer first."""


def check_tries(evidence: Evidence) -> Iterator[Violation]:
    """What was sent, what is noted of it, and what became of it, agree."""
    arrivals = by_id(evidence.arrivals)
    for delivery in evidence.deliveries:
        copies, tries = arrivals.get(delivery.id, []), evidence.tries.get(delivery.id, [])
        if len(copies) > len(tries):
            what = f"{delivery.id} came {len(copies)} times in {len(tries)} tries"
            yield Violation(Word.TRY_MISSING, delivery.batch, what)
        for first, second in pairwise(tries):
            if second.started < _free_from(first):
                what = f"{delivery.id} was tried {second.started - first.started} ms after a try that was not over"
                yield Violation(Word.TRIES_OVERLAP, delivery.batch, what)
        if delivery.state not in (State.DELIVERED, State.SUPERSEDED):
            yield Violation(Word.NOT_DELIVERED, delivery.batch, f"{delivery.id} is {delivery.state} in the end")
        batch = evidence.batches.get(delivery.batch)
        if delivery.state == State.SUPERSEDED and (batch is None or delivery.run >= batch.run):
            yield Violation(Word.NOT_DELIVERED, delivery.batch, f"{delivery.id} is superseded, and by no later run")
        if delivery.state == State.DELIVERED and not any(copy.mood in THANKS for copy in copies):
            yield Violation(Word.NOT_DELIVERED, delivery.batch, f"{delivery.id} is noted as delivered; nobody thanked")


def _free_from(first: AttemptSeen) -> int:
    """When the next try of the same webhook may start: after the end of this one, or of its lease."""
    lasted = DELIVERY_LEASE_MS if first.lasted is None else min(first.lasted, DELIVERY_LEASE_MS)
    return first.started + lasted - ROUNDING_MS
