"""What a worker passes over unseen for a while: batches that wait and may not be claimed, as of paused workspaces."""

from __future__ import annotations

from collections.abc import Sequence

from broker.store.claims import LONG_SECONDS, PassedOver

PART = 10
"""Looks over all that waits take at most one second of so many,"""
LONGEST = 5.0
"""unless the next would be as many seconds away: a look may have been long for a reason of its own."""


class Passed:
    """Up to which rank there was nothing to claim by the last look over all, as long as that is believed.

    What comes back below it meanwhile, given back or resumed, waits until then. What is new has a higher rank.
    """

    def __init__(self, long_seconds: float = LONG_SECONDS) -> None:
        self.long_seconds = long_seconds
        self._rank = 0
        self._types: frozenset[str] = frozenset()
        self._until = 0.0

    def rank(self, types: Sequence[str], now: float) -> int:
        """Where a look at these types begins; 0 is all."""
        return self._rank if now < self._until and self._types.issuperset(types) else 0

    def note(self, types: Sequence[str], passed: PassedOver, began: float) -> None:
        """A look that `began` then took long. One that was not over all makes the last such believed no longer."""
        if self.rank(types, began) == 0:
            self._until = began + min(PART * passed.seconds, LONGEST)
        self._rank, self._types = passed.rank, frozenset(types)
