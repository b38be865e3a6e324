"""Batches that lie in SQL without a POST of their own."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import update

from broker.batches import NewBatch, new_id
from broker.store.batches import insert_batches
from broker.store.tables import BatchRow, table
from tests.integration.running import Broker

BATCHES = table(BatchRow)


async def fill(broker: Broker, count: int, **values: Any) -> list[str]:
    """Ids of `count` further batches, the newest first; `values` are written over their columns."""
    made = [new_id() for _ in range(count)]
    rows = [
        NewBatch(
            id=id,
            workspace=broker.tenant.workspace,
            dialect="ximilar",
            type="upscaler",
            endpoint="upscale_2x",
            params="{}",
            records="[]",
            extra="{}",
            size=0,
            base_url="http://x",
        )
        for id in made
    ]
    write = broker.core.database.writer.write
    await asyncio.gather(*(write(insert_batches, row) for row in rows))
    if values:
        await broker.store.change(update(BATCHES).where(BATCHES.c.id.in_(made)).values(**values))
    return made[::-1]
