"""Taking batches: as many as there is room for, or one that took a worker down, alone."""

from __future__ import annotations

import time
from collections.abc import Sequence

from broker.errors import Unavailable
from broker.store.claims import Careful, Claim, ClaimOrder, claim_batches
from broker.store.database import Database
from broker.work.beat import Heartbeat


class Claims:
    """One a worker process. Batches that need care take turns with all others, so that neither starve."""

    def __init__(self, database: Database, heartbeat: Heartbeat, owner: str, lease_seconds: float) -> None:
        self.more = False
        self._database = database
        self._heartbeat = heartbeat
        self._owner = owner
        self._lease_ms = int(lease_seconds * 1000)
        self._others_first = False

    async def __call__(self, types: Sequence[str], free: int) -> Sequence[Claim]:
        """Up to `free` batches, now leased to this process. `more`: there may be more once what runs has ended.

        Raises Unavailable.
        """
        held = self._heartbeat.held
        self.more = held.alone
        if held.alone:
            return ()
        careful = Careful.LAST if self._others_first else Careful.FIRST
        order = ClaimOrder(self._owner, tuple(types), free, self._lease_ms, held.idle, careful)
        asked = time.monotonic()
        try:
            claimed = await self._database.writer.write(claim_batches, order)
        except Unavailable:
            self._heartbeat.doubt()
            raise
        self._heartbeat.hold(claimed.claims, asked)
        self._others_first = any(claim.careful for claim in claimed.claims)
        self.more = claimed.makes_room or self._others_first
        return claimed.claims
