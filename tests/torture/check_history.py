"""Checks the fencing history: no result under an older lease, no move that the state machine does not have.

The triggers see which row changed and not who changed it. So a move that is legal in itself, but was made by a former
holder, passes here: above all a lease that was given back by the holder of the one before, PROCESSING -> CREATED.
`tests/integration/store/test_fences.py` tries each such write after each way to lose a lease.
"""

from __future__ import annotations

from collections.abc import Iterator

from broker.batches import Outcome, Status
from broker.deliveries import State
from tests.torture.evidence import Evidence
from tests.torture.history import Line
from tests.torture.violations import Violation, Word

CREATED, PROCESSING, PAUSED, DONE = Status.CREATED, Status.PROCESSING, Status.PAUSED, Status.DONE
MOVES = frozenset(
    {
        *((CREATED, PROCESSING), (PROCESSING, CREATED), (PROCESSING, DONE)),
        *((CREATED, DONE), (PAUSED, DONE), (DONE, CREATED)),
        *((CREATED, PAUSED), (PAUSED, CREATED), (PROCESSING, PAUSED), (PAUSED, PROCESSING)),
    }
)


def check_history(evidence: Evidence) -> Iterator[Violation]:
    for line in evidence.history:
        if line.what == "batch":
            yield from _check_move(line)
        elif line.what == "result":
            yield from _check_result(line)
        elif line.what == "sending":
            yield from _check_sending(line)
        elif line.status != DONE:
            yield Violation(Word.ILLEGAL_MOVE, line.batch, f"an event was stored while it was {line.status}")


def _check_result(line: Line) -> Iterator[Violation]:
    if line.seq != line.batch_seq:
        what = f"record {line.position} was stored under lease {line.seq} while lease {line.batch_seq} held"
        yield Violation(Word.STALE_WRITE, line.batch, what)
    if line.old_seq is not None and line.old_run == line.run:
        yield Violation(Word.STALE_WRITE, line.batch, f"record {line.position} of run {line.run} was stored again")


def _check_move(line: Line) -> Iterator[Violation]:
    if line.old_status is None:
        if (line.status, line.run, line.seq) != (CREATED, 1, 0):
            yield Violation(Word.ILLEGAL_MOVE, line.batch, f"born {line.status}, run {line.run}, lease {line.seq}")
        return
    told = f"{line.old_status} run {line.old_run} lease {line.old_seq} -> {line.status} run {line.run} lease {line.seq}"
    if line.old_status != line.status and (line.old_status, line.status) not in MOVES:
        yield Violation(Word.ILLEGAL_MOVE, line.batch, told)
    if line.run != (line.old_run or 0) + ((line.old_status, line.status) == (DONE, CREATED)):
        yield Violation(Word.ILLEGAL_MOVE, line.batch, told)
    if not _lease_fits(line):
        yield Violation(Word.ILLEGAL_MOVE, line.batch, told)


def _check_sending(line: Line) -> Iterator[Violation]:
    """What became of a delivery stays: nobody here asks for a replay."""
    if line.old_status != State.PENDING and line.status != line.old_status:
        told = f"the delivery of run {line.run}: {line.old_status} -> {line.status}"
        yield Violation(Word.ILLEGAL_MOVE, line.batch, told)


def _lease_fits(line: Line) -> bool:
    """A claim raises the number by one, and so does a cancellation; nothing else changes it."""
    raised = (line.seq or 0) - (line.old_seq or 0)
    if (line.old_status, line.status) == (CREATED, PROCESSING):
        return raised == 1
    if line.status == DONE and line.old_status != DONE:
        return raised == (line.outcome == Outcome.CANCELLED)
    return raised == 0
