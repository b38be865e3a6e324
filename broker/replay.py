"""Sending webhooks once more, because a person asked for it: one, or all that did not arrive in a certain time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from broker.batches import is_id
from broker.delivery_query import DeliveryQuery, ShownDelivery
from broker.errors import Conflict, NotFound
from broker.store.clock import read_clock
from broker.store.database import Database
from broker.store.delivery_lists import StoredDelivery
from broker.store.replays import (
    Looked,
    Lost,
    LostFilter,
    NotReplayed,
    ReplayOrder,
    lost_deliveries,
    replay_deliveries,
)

CHUNK = 500
NAMED = 100

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a bulk replay did: deliveries that are tried now, those that are not, and (id, why) of the first NAMED."""

    count: int
    refused: int
    refusals: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Replay:
    """The use case. `workspaces` are those that the caller may see; lease_ms: how long a sender's claim lasts."""

    query: DeliveryQuery
    database: Database
    lease_ms: int

    async def __call__(self, id: str, workspaces: Collection[str]) -> ShownDelivery:
        """Try a delivery once more, with the same id and bytes, whatever its state; how it stands then.

        Where that was asked already and has not happened yet, it happens once. No tries follow but those of the
        schedule that are left. Raises NotFound, Conflict (its endpoint is disabled, or it is being sent), Unavailable.
        """
        if not is_id(id):
            raise NotFound()
        order = ReplayOrder(id.lower(), workspaces, self.lease_ms)
        replayed = await self.database.writer.write(replay_deliveries, order)
        if replayed is None:
            raise NotFound()
        if isinstance(replayed, NotReplayed):
            raise Conflict(replayed.reason)
        _tell(replayed)
        return self.query.shown(replayed)

    async def many(
        self, workspace: str, what: Lost, since_ms: int, until_ms: int, endpoint: str | None = None
    ) -> Replayed:
        """Try once more what was first owed from `since_ms` to `until_ms` (ms since 1970), and until now at most.

        Raises Unavailable: some may be tried, and asking once more tries all.
        """
        async with self.database.reading() as connection:
            now = await connection.run_sync(read_clock)
        which = LostFilter(workspace, what, since_ms, min(until_ms, now), endpoint)
        count, refused, after = 0, 0, None
        named: list[tuple[str, str]] = []
        while chunk := await self._next(which, after):
            ids = [one.id for one in chunk if one.chosen]
            answers = await self._replay_all(workspace, ids)
            refusals = [(id, why.reason) for id, why in zip(ids, answers, strict=True) if isinstance(why, NotReplayed)]
            refused += len(refusals)
            named += refusals[: NAMED - len(named)]
            count += sum(isinstance(answer, StoredDelivery) for answer in answers)
            after = chunk[-1].id
        return Replayed(count, refused, tuple(named))

    async def _next(self, which: LostFilter, after: str | None) -> list[Looked]:
        async with self.database.reading() as connection:
            return await lost_deliveries(connection, which, after, CHUNK)

    async def _replay_all(self, workspace: str, ids: Sequence[str]) -> list[StoredDelivery | NotReplayed | None]:
        """Written at once, so that they share a commit."""
        write, orders = self.database.writer.write, [ReplayOrder(id, (workspace,), self.lease_ms) for id in ids]
        answers = await asyncio.gather(*[write(replay_deliveries, order) for order in orders])
        for answer in answers:
            if isinstance(answer, StoredDelivery):
                _tell(answer)
        return answers


def _tell(replayed: StoredDelivery) -> None:
    log.info("delivery.replayed", delivery=replayed.id, batch=replayed.batch)
