"""The checker: all violations that the evidence of a run shows."""

from __future__ import annotations

from collections.abc import Iterator

from tests.torture.check_batches import check_accepted
from tests.torture.check_history import check_history
from tests.torture.check_results import check_results
from tests.torture.check_webhooks import check_duplicates, check_events, check_webhooks
from tests.torture.evidence import KILLED, RECYCLED, Evidence
from tests.torture.fleet import Exit
from tests.torture.violations import Violation, Word

CHECKS = (check_accepted, check_results, check_events, check_webhooks, check_duplicates, check_history)


def check(evidence: Evidence) -> list[Violation]:
    """Every violation, in the order of the checks."""
    return [*(found for one in CHECKS for found in one(evidence)), *_check_exits(evidence)]


def _check_exits(evidence: Evidence) -> Iterator[Violation]:
    """Processes end when they are told to, or when a record takes them down."""
    for exit in evidence.exits:
        if not _is_legal(exit):
            yield Violation(Word.EXIT_STATUS, exit.slot, f"ended with {exit.status}; see {exit.log}")


def _is_legal(exit: Exit) -> bool:
    if exit.asked:
        return exit.status in (0, KILLED)
    return exit.status in (KILLED, RECYCLED)
