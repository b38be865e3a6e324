"""Records that note in a ledger when they run and wait at a gate, and the ways in which their batch comes to grief."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, select, update

from broker.store.crashes import Look, RescueOrder, rescue_batches
from broker.store.leases import Beat, extend_leases
from broker.store.tables import BatchRow, ResultRow, table
from broker.store.writer import GROUP_BYTES, MAX_WAITING_BYTES, Writer
from tests.integration.running import Broker, in_base64, photograph, until

BATCHES, RESULTS = table(BatchRow), table(ResultRow)
SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}
_NOTHING = Beat("nobody", (), 0)


class Scene:
    """A batch whose records note in a ledger that they began, and wait at a gate if they have one."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.broker = broker
        self.gate = folder / "gate"
        self._ledger = folder / "ledger"
        self._ledger.touch()

    def free(self) -> dict[str, Any]:
        return {**SOURCE, "ledger": str(self._ledger)}

    def held(self, gate: Path | None = None) -> dict[str, Any]:
        """A record that waits at the common gate, or at one of its own."""
        return {**self.free(), "gate": str(gate or self.gate)}

    async def post(self, *records: dict[str, Any], type: str = "hostile", **body: Any) -> str:
        accepted = await self.broker.post({"type": type, "endpoint": "gate", "records": records, **body})
        return str(accepted["id"])

    def noted(self) -> Counter[str]:
        return Counter(self._ledger.read_text().splitlines())

    async def began(self, count: int) -> None:
        """Until that many records began, repeated ones counted again."""

        async def enough() -> bool:
            return sum(line.endswith(" started") for line in self.noted().elements()) >= count

        await until(enough)

    async def cancelled(self, seconds: float = 30) -> None:
        """Until the first record was told to end."""

        async def told() -> bool:
            return self.noted()["0 cancelled"] > 0

        await until(told, seconds)

    async def batch(self, id: str | None = None) -> Row[Any]:
        """The row of a batch, by default of the only one."""
        every = select(BATCHES)
        return await self.broker.store.row(every if id is None else every.where(BATCHES.c.id == id))

    async def waiting(self) -> Row[Any]:
        """The row of the only batch once it waits for a worker again."""

        async def back() -> Row[Any] | None:
            batch = await self.batch()
            return batch if batch.status == "CREATED" else None

        return await until(back)

    async def stored(self) -> list[int]:
        """Places of the results in SQL."""
        rows = await self.broker.store.rows(select(RESULTS.c.position).order_by(RESULTS.c.position))
        return [row.position for row in rows]

    async def lose_lease(self) -> None:
        """As when the worker has not beaten for a long time, and the sweep has found that."""
        order = RescueOrder(10, lease_ms=0, since=0, until=2**52, max_crashes=3)
        look = await self.broker.core.database.writer.write(_lose_and_rescue, order)
        assert len(look.rescued) == 1

    async def hand_lease_over(self) -> None:
        """As when that was so, and another worker has claimed the batch since."""
        taken = update(BATCHES).values(lease_seq=BATCHES.c.lease_seq + 1, lease_owner="another", lease_until=2**52)
        assert await self.broker.store.change(taken) == 1

    @asynccontextmanager
    async def refusing(self, writer: Writer) -> AsyncIterator[None]:
        """A writer that refuses every write at once, since too much waits in it; no other gets its turn meanwhile."""
        async with self.broker.store.locked():
            weights = (GROUP_BYTES, MAX_WAITING_BYTES + 1)  # the first fills a group of its own, which hangs
            waiting = [asyncio.create_task(writer.write(extend_leases, _NOTHING, weight=weight)) for weight in weights]
            await asyncio.sleep(0)
            yield
        await asyncio.wait(waiting)


def _lose_and_rescue(connection: Connection, orders: Sequence[RescueOrder]) -> list[Look]:
    """In one transaction, so that no beat comes between."""
    late = update(BATCHES).where(BATCHES.c.status == "PROCESSING").values(lease_until=1)
    assert connection.execute(late).rowcount == 1
    return rescue_batches(connection, orders)
