"""Batches brought where a test needs them, through the same use cases and queries as in production."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select, update

from broker.batches import Overview, Result, new_id
from broker.complete import Complete
from broker.store.batches import insert_batches
from broker.store.children import Expansion, NewChild, add_children
from broker.store.claims import Claim
from broker.store.results import Checkpoint, checkpoint_results
from broker.store.tables import BatchRow, DeliveryRow, ResultRow, table
from tests.integration.running import Broker
from tests.integration.store.rows import claim, everything, new_batch

BATCHES, RESULTS, DELIVERIES = table(BatchRow), table(ResultRow), table(DeliveryRow)
HOOK = "https://hooks.example.com/done"


def result(place: int, code: int = 200, **facts: Any) -> Result:
    return Result(place, code, "OK" if code == 200 else "broken", new_id(), facts)


@dataclass(frozen=True)
class Scene:
    """A broker without workers: what happens to its batches is what the test does."""

    broker: Broker

    @property
    def workspaces(self) -> tuple[str, ...]:
        return (self.broker.tenant.workspace,)

    @property
    def complete(self) -> Complete:
        core = self.broker.core
        return Complete(core.database, core.vault, core.links, core.bell)

    async def accept(self, records: int = 1, *, hook: str | None = HOOK, **record: Any) -> str:
        """The id of a batch of so many records that was POSTed."""
        body: dict[str, Any] = {
            "type": "upscaler",
            "records": [{"_url": "https://a.example.com/1.jpg", **record}] * records,
        }
        if hook is not None:
            body["webhook"] = {"endpoint": hook}
        return str((await self.broker.post(body))["id"])

    async def claim(self, limit: int = 10) -> list[Claim]:
        return await claim(self.broker.core.database, limit)

    async def checkpoint(self, claimed: Claim, *results: Result) -> bool:
        item = Checkpoint(claimed.lease, claimed.batch.run, results)
        return await self.broker.core.database.writer.write(checkpoint_results, item)

    async def finish(self, claimed: Claim, *codes: int) -> bool:
        """End a batch with these codes for the records that have no result yet; none = 200 for all."""
        known = {one.index for one in claimed.results}
        places = [place for place in range(len(claimed.batch.records)) if place not in known]
        fresh = [result(place, code) for place, code in zip(places, codes or [200] * len(places), strict=True)]
        return await self.complete(claimed.batch, claimed.results, fresh)

    async def done(self, *codes: int, **options: Any) -> str:
        """The id of a batch that is DONE with these codes. No other fresh one may wait."""
        id = await self.accept(len(codes), **options)
        (claimed,) = await self.claim(1)
        assert claimed.id == id
        assert await self.finish(claimed, *codes)
        return id

    async def not_done(self, status: str) -> str:
        """The id of a batch that is CREATED, PROCESSING or PAUSED. No other fresh one may wait."""
        id = await self.accept()
        if status == "PROCESSING":
            await self.claim()
        if status == "PAUSED":
            await self.broker.web.pause.pause(id, self.workspaces)
        return id

    async def finish_waiting(self, *codes: int) -> None:
        for claimed in await self.claim(100):
            assert await self.finish(claimed, *codes)

    async def row(self, id: str) -> Row[Any]:
        return await self.broker.store.row(select(BATCHES).where(BATCHES.c.id == id))

    async def results(self, id: str) -> Sequence[Row[Any]]:
        return await self.broker.store.rows(
            select(RESULTS).where(RESULTS.c.batch_id == id).order_by(RESULTS.c.position)
        )

    async def deliveries(self, id: str) -> Sequence[Row[Any]]:
        return await self.broker.store.rows(
            select(DELIVERIES).where(DELIVERIES.c.batch_id == id).order_by(DELIVERIES.c.run)
        )

    async def change(self, id: str, **values: Any) -> None:
        assert await self.broker.store.change(update(BATCHES).where(BATCHES.c.id == id).values(**values)) == 1

    async def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        return await everything(self.broker.core.database)

    async def overview(self, id: str) -> Overview:
        return await self.broker.web.query.overview(id, self.workspaces)

    async def expand(
        self, parent: Claim, count: int, *, first: int = 0, cursor: str | None = None, records: int = 1
    ) -> bool:
        """Add `count` children to a claimed parent, with the ordinals from `first` on."""
        workspace = self.broker.tenant.workspace
        body = '[{"id":"r","url":"https://a.example.com/1.jpg"}' + ',{"id":"r"}' * (records - 1) + "]"
        children = [NewChild(first + place, new_batch(workspace, records=body, size=records)) for place in range(count)]
        return await self.broker.core.database.writer.write(
            add_children, Expansion(parent.lease, tuple(children), cursor)
        )

    async def parent(self, children: int, *, records: int = 1, hook: str | None = HOOK) -> str:
        """The id of a listed parent that waits for its children. No other fresh batch may wait."""
        id = await self.accept(hook=hook)
        await self.change(id, records="[]", size=0)
        (claimed,) = await self.claim(1)
        assert claimed.id == id
        assert await self.expand(claimed, children, records=records)
        return id

    async def children(self, parent: str) -> list[Row[Any]]:
        rows = await self.broker.store.rows(
            select(BATCHES).where(BATCHES.c.parent_id == parent).order_by(BATCHES.c.ordinal)
        )
        return list(rows)


async def fresh_batch(scene: Scene) -> str:
    """The id of a batch that was accepted just now, without HTTP."""
    batch = new_batch(scene.broker.tenant.workspace)
    await scene.broker.core.database.writer.write(insert_batches, batch)
    return batch.id


async def told(*calls: Any) -> list[Any]:
    """What calls that run at once answer or raise."""
    return await asyncio.gather(*calls, return_exceptions=True)
