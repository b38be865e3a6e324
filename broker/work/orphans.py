"""The search for blobs that no batch speaks of: left by a POST that was not stored, or by a removal cut off."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from broker.errors import Unavailable
from broker.media.blobs import INPUTS, OUTPUTS, Blobs
from broker.store.chores import Turn, take_turn
from broker.store.database import Database
from broker.store.expiry import Kept, kept_of

SECONDS = 60.0
TURN_MS = 3_600_000
YOUNG_MS = 3_600_000
"""A POST stores its pictures first and its batch moments later."""
PAUSE = 0.05
"""Seconds between two chunks, in which others read."""
MAX_FAILURES = 10
"""Removals that may fail in one search: a few files may be stuck, a store that is away is not asked on and on."""
_KEY = re.compile(
    rf"({INPUTS}|{OUTPUTS})/([0-9a-f-]{{36}})/([0-9a-f]{{8}}-[0-9a-f]{{4}}-7[0-9a-f]{{3}}-[89ab][0-9a-f]{{3}}-[0-9a-f]{{12}})"
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Found:
    """Where blobs of one batch lie. area: INPUTS or OUTPUTS."""

    key: str
    area: str
    workspace: str
    batch: str

    @property
    def created(self) -> int:
        """When the batch got its id, in ms since 1970: the first 48 bits of a UUIDv7 (RFC 9562, 5.7)."""
        return uuid.UUID(self.batch).int >> 80


@dataclass(frozen=True, slots=True)
class Orphans:
    """The use case."""

    database: Database
    blobs: Blobs
    pause_seconds: float = SECONDS

    async def run(self) -> None:
        """Search once an hour, in one process of the fleet, until cancelled."""
        while True:
            await asyncio.sleep(self.pause_seconds)
            try:
                if await self.database.writer.write(take_turn, Turn("orphans", TURN_MS)):
                    log.info("orphans.searched", removed=await self.search())
            except Unavailable:
                log.warning("orphans.failed")

    async def search(self) -> int:
        """Remove what belongs to no batch, or to one whose row says that it is no longer kept; of how many batches.

        Keys are listed before SQL is asked, so a batch that is stored meanwhile is known. What is no key of ours stays.
        Raises Unavailable; what was removed until then is.
        """
        removed = failures = 0
        async for keys in self.blobs.batch_keys():
            found = [one for key in keys if (one := _parse(key))]
            if len(found) < len(keys):
                strange = next(key for key in keys if not _parse(key))
                log.warning("orphans.strange_keys", count=len(keys) - len(found), one=strange)
            for one, kept in await self._look_up(found):
                try:
                    removed += await self._remove(one, kept)
                except Unavailable:
                    failures += 1
                    log.warning("orphans.not_removed", key=one.key, exc_info=True)
                    if failures == MAX_FAILURES:
                        raise
            await asyncio.sleep(PAUSE)
        return removed

    async def _look_up(self, found: Sequence[Found]) -> list[tuple[Found, Kept | None]]:
        """Those of which something is to be removed: with what is kept of the batch, None for one that is unknown."""
        async with self.database.reading() as connection:
            now, kept = await kept_of(connection, [one.batch for one in found])
        await self.blobs.remove_drafts([one.key for one in found if one.batch in kept], YOUNG_MS / 1000)
        return [(one, kept.get(one.batch)) for one in found if _is_orphan(one, kept.get(one.batch), now)]

    async def _remove(self, one: Found, kept: Kept | None) -> int:
        if kept is None:
            await self.blobs.remove_batch(one.workspace, one.batch)
        elif one.area == INPUTS:
            await self.blobs.remove_inputs(one.workspace, one.batch)
        else:
            await self.blobs.remove_outputs(one.workspace, one.batch, kept.lease_seq)
        log.info("orphans.removed", key=one.key, batch_known=kept is not None)
        return 1


def _is_orphan(one: Found, kept: Kept | None, now: int) -> bool:
    if kept is None:
        return now - one.created > YOUNG_MS
    return not (kept.inputs if one.area == INPUTS else kept.outputs)


def _parse(key: str) -> Found | None:
    match = _KEY.fullmatch(key)
    return Found(key, *match.groups()) if match else None
