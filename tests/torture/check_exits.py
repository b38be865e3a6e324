"""Checks how processes ended: when they were told to, in good order, or because a record took them down."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from tests.torture.evidence import KILLED, RECYCLED, Evidence
from tests.torture.fleet import Exit
from tests.torture.violations import Violation, Word

STOPPED, NOT_STARTED, HELD = 0, 1, 1
START_MS = 10_000
"""The longest that a process may have been about its start when it ends."""


def check_exits(evidence: Evidence) -> Iterator[Violation]:
    """Every end is one that was asked for, or that a record, or the database at the start, accounts for."""
    for exit in evidence.exits:
        if not _is_legal(exit, evidence):
            asked = f"on {exit.asked.name}" if exit.asked else "unasked"
            yield Violation(Word.EXIT_STATUS, exit.slot, f"ended {asked} with {exit.status}; see {exit.log}")


def _is_legal(exit: Exit, evidence: Evidence) -> bool:
    if exit.status == STOPPED:
        return exit.asked is signal.SIGTERM
    if exit.status in (KILLED, RECYCLED) and exit.pid in evidence.harmed:
        return True
    if exit.status in (HELD, RECYCLED) and exit.pid in evidence.suspended:
        return True  # when it wakes, a long SIGSTOP looks like a handler, or a thread of one, that does not end
    if exit.status == KILLED:
        return exit.asked is signal.SIGKILL
    return exit.status == NOT_STARTED and not exit.ready and evidence.was_away(exit.at - START_MS, exit.at)
