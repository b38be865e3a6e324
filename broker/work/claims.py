"""Taking batches: as many as there is room for, or one that took a worker down, alone."""

from __future__ import annotations

import time
from collections.abc import Sequence

from broker.errors import Unavailable
from broker.store.claims import Careful, Claim, ClaimOrder, claim_batches
from broker.store.database import Database
from broker.work.beat import Heartbeat
from broker.work.passed import Passed

TURN_SECONDS = 2.0
"""How long batches that need care, most of which are brief, run one after the other before all others come again."""


class Claims:
    """One a worker process. Batches that need care take turns with all others, so that neither starve."""

    def __init__(
        self,
        database: Database,
        heartbeat: Heartbeat,
        owner: str,
        lease_seconds: float,
        *,
        turn_seconds: float = TURN_SECONDS,
        passed: Passed | None = None,
    ) -> None:
        self.more = False
        self._passed = passed or Passed()
        self._database = database
        self._heartbeat = heartbeat
        self._owner = owner
        self._lease_ms = int(lease_seconds * 1000)
        self._turn_seconds = turn_seconds
        self._turn_began: float | None = None

    async def __call__(self, types: Sequence[str], free: int) -> Sequence[Claim]:
        """Up to `free` batches, now leased to this process. `more`: there may be more once what runs has ended.

        Raises Unavailable.
        """
        held = self._heartbeat.held
        self.more = held.alone
        if held.alone:
            return ()
        asked = time.monotonic()
        careful = Careful.LAST if self._turn_is_over(asked) else Careful.FIRST
        order = ClaimOrder(
            self._owner,
            tuple(types),
            free,
            self._lease_ms,
            idle=held.idle,
            careful=careful,
            rank=self._passed.rank(types, asked),
            long_seconds=self._passed.long_seconds,
        )
        try:
            claimed = await self._database.writer.write(claim_batches, order)
        except Unavailable:
            self._heartbeat.doubt()
            raise
        self._heartbeat.hold(claimed.claims, asked)
        if claimed.passed_over is not None:
            self._passed.note(types, claimed.passed_over, asked)
        alone = any(claim.careful for claim in claimed.claims)
        self._turn_began = (self._turn_began or asked) if alone else None
        self.more = claimed.makes_room or alone
        return claimed.claims

    def _turn_is_over(self, now: float) -> bool:
        return self._turn_began is not None and now - self._turn_began >= self._turn_seconds
