"""Checks events and webhooks: one event a run, received at least once, always with the same, signed bytes."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from broker.batches import Status
from broker.deliveries import EVENT_DONE, State
from tests.torture.check_results import check_shown
from tests.torture.customer import Arrival
from tests.torture.evidence import AttemptSeen, DeliverySeen, Evidence
from tests.torture.plan import DELIVERY_LEASE_SECONDS, WEBHOOK_TIMEOUT
from tests.torture.violations import Violation, Word

RECORD_MS = 3_000
"""The most that may pass from the arrival of a copy until it is recorded, while nothing is broken."""
DELIVERY_LEASE_MS = int(DELIVERY_LEASE_SECONDS * 1000)
ROUNDING_MS = 5
"""Times are noted in whole milliseconds, by more than one clock."""


def check_events(evidence: Evidence) -> Iterator[Violation]:
    """Each run of a DONE batch that wants a webhook has exactly one completion event."""
    events = Counter((delivery.batch, delivery.run) for delivery in evidence.deliveries if delivery.event == EVENT_DONE)
    wanted = {
        (batch.id, run)
        for batch in evidence.batches.values()
        if batch.webhook and batch.status == Status.DONE
        for run in range(1, batch.run + 1)
    }
    for batch, run in sorted(wanted - set(events)):
        yield Violation(Word.EVENT_MISSING, batch, f"run {run} is over and has no event")
    for (batch, run), count in events.items():
        if (batch, run) not in wanted:
            yield Violation(Word.EVENT_DUPLICATED, batch, f"an event for run {run}, which is not over or wants none")
        elif count > 1:
            yield Violation(Word.EVENT_DUPLICATED, batch, f"run {run} has {count} events")


def check_webhooks(evidence: Evidence) -> Iterator[Violation]:
    """Each event was received; all its copies are alike, signed and right."""
    arrivals = by_id(evidence.arrivals)
    owed = {delivery.id: delivery for delivery in evidence.deliveries}
    for id, delivery in owed.items():
        if id not in arrivals and delivery.state != State.SUPERSEDED:
            yield Violation(Word.WEBHOOK_MISSING, delivery.batch, f"{id} is {delivery.state} and never came")
    for id, copies in arrivals.items():
        bodies = {copy.post.body for copy in copies}
        if id not in owed:
            yield Violation(Word.WEBHOOK_UNKNOWN, id, f"came {len(copies)} times and is in no row")
            continue
        if bodies != {owed[id].body}:
            yield Violation(Word.WEBHOOK_DIFFERS, owed[id].batch, f"{id} came with {len(bodies)} different bodies")
        yield from _check_content(evidence, owed[id], copies[0])
    for arrival in evidence.arrivals:
        if not arrival.signed:
            yield Violation(Word.SIGNATURE_INVALID, arrival.id, f"headers {arrival.post.headers}")


def check_duplicates(evidence: Evidence) -> Iterator[Violation]:
    """A webhook comes again only when the receiver did not thank, the try was over before the thanks came, or what it
    brought could not be recorded; or when it had left before, by a sender that was stopped meanwhile.
    """
    for id, copies in by_id(evidence.arrivals).items():
        for copy, again in duplicates(copies):
            if copy.mood.thanks and not (_is_explained(evidence, copy) or _was_held_up(evidence, copy, again)):
                thanked = f"a {copy.mood} answer to {copy.sender} at {copy.at}"
                what = f"sent by {again.sender}, {again.at - copy.at} ms after {thanked}"
                yield Violation(Word.DUPLICATE_WITHOUT_FAULT, id, what)


def _was_held_up(evidence: Evidence, copy: Arrival, again: Arrival) -> bool:
    return again.left < copy.at and evidence.was_stopped(again.sender, again.left, again.at)


def _is_explained(evidence: Evidence, copy: Arrival) -> bool:
    """By what is noted about the try that sent this copy, and by what befell its sender or the database just then.

    Thanks that are noted, but too late for the delivery's lease, do not keep the next try from following.
    """
    tries = evidence.tries.get(copy.id, [])
    place = _place_of(copy, tries)
    if place < 0:
        return False
    sent, after = tries[place], tries[place + 1 : place + 2]
    if _ran_out(sent):
        return True
    if not sent.good:
        return evidence.kept_from_recording(copy.sender, sent.started, copy.at + RECORD_MS)
    if after and after[0].started >= sent.started + DELIVERY_LEASE_MS:
        return evidence.kept_from_recording(copy.sender, sent.started, after[0].started)
    return False


def was_thanked_late(evidence: Evidence, copy: Arrival) -> bool:
    """Whether the try that brought a copy was over when the thanks for it came."""
    tries = evidence.tries.get(copy.id, [])
    place = _place_of(copy, tries)
    return copy.mood.thanks and place >= 0 and _ran_out(tries[place])


def _ran_out(sent: AttemptSeen) -> bool:
    return sent.timed_out and sent.lasted is not None and sent.lasted >= WEBHOOK_TIMEOUT * 1000 - ROUNDING_MS


def _place_of(copy: Arrival, tries: Sequence[AttemptSeen]) -> int:
    """Which try it was that sent a copy; below 0: none."""
    return bisect_right(tries, copy.left, key=lambda attempt: attempt.started) - 1


def by_id(arrivals: Sequence[Arrival]) -> dict[str, list[Arrival]]:
    """webhook-id -> its copies, in the order in which they came."""
    found: defaultdict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        found[arrival.id].append(arrival)
    return dict(found)


def duplicates(copies: Sequence[Arrival]) -> Iterator[tuple[Arrival, Arrival]]:
    """Each copy with the one that came after it."""
    return pairwise(copies)


def _check_content(evidence: Evidence, delivery: DeliverySeen, arrival: Arrival) -> Iterator[Violation]:
    """The webhook tells the right results of the batch whose address it came to."""
    event = json.loads(arrival.post.body)
    batch, work = delivery.batch, evidence.works.get(arrival.batch)
    if work is None or evidence.ids.get(arrival.batch) != batch or event["id"] != batch:
        yield Violation(Word.RESULT_WRONG, batch, f"its webhook came to the address of batch number {arrival.batch}")
        return
    yield from check_shown(evidence, work, batch, delivery.run, event["response"]["records"])
