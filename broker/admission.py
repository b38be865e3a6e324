"""The limits that are judged before a batch is taken: open batches of a workspace, and free disk."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from broker.errors import TooManyQueued, Unavailable
from broker.store.database import Database
from broker.store.tallies import count_open

FRESH_SECONDS = 1.0
RETRY_AFTER = 5


@dataclass(slots=True)
class _Count:
    """Open batches as SQL knew them, and those taken since by this process."""

    known: int
    taken: int = 0
    until: float = field(default_factory=lambda: time.monotonic() + FRESH_SECONDS)


@dataclass(slots=True)
class Admission:
    """Counts are at most a second old. Several web processes may together pass the limit by what a second brings."""

    database: Database
    max_queued: int
    min_free_bytes: int
    folders: tuple[Path, ...]
    _counts: dict[str, _Count] = field(default_factory=dict)
    _disk_until: float = 0.0

    async def admit(self, workspace: str) -> None:
        """Raises TooManyQueued or Unavailable when a batch of this workspace must wait."""
        self._check_disk()
        count = self._counts.get(workspace)
        if count is None:
            known = await self._count(workspace)
            count = self._counts.setdefault(workspace, _Count(known))
        elif time.monotonic() > count.until:
            await self._recount(workspace, count)
        if count.known + count.taken >= self.max_queued:
            raise TooManyQueued(retry_after=RETRY_AFTER)
        count.taken += 1

    def release(self, workspace: str) -> None:
        """A batch that was admitted is not taken after all."""
        count = self._counts[workspace]
        count.taken = max(count.taken - 1, 0)  # 0: it was counted anew meanwhile, without that batch

    async def _recount(self, workspace: str, count: _Count) -> None:
        """One counts anew; meanwhile the others go by what is known, and what they take is added to the new count."""
        count.until = time.monotonic() + FRESH_SECONDS
        before = count.taken
        count.known = await self._count(workspace)
        count.taken -= before

    async def _count(self, workspace: str) -> int:
        async with self.database.reading() as connection:
            return await count_open(connection, workspace)

    def is_short_of_disk(self) -> bool:
        """Whether there is less free disk than POSTs need. Raises Unavailable when a folder cannot be looked at."""
        try:
            free = min((shutil.disk_usage(folder).free for folder in self.folders), default=self.min_free_bytes)
        except OSError as error:
            raise Unavailable(retry_after=5) from error
        return free < self.min_free_bytes

    def _check_disk(self) -> None:
        """Only a good answer is remembered, so that space made free counts at once."""
        if time.monotonic() < self._disk_until:
            return
        if self.is_short_of_disk():
            raise Unavailable("The service is short of disk space. Try again later.", retry_after=60)
        self._disk_until = time.monotonic() + FRESH_SECONDS
