"""What comes first: the commit before its nudge, and a fresh batch before what is left of a large piece of work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arq import ArqRedis
from sqlalchemy import func, select, update

from broker.queue.connection import connect, disconnect, queue_name
from broker.store.children import Expansion, NewChild, add_children
from broker.store.tables import BatchRow, table
from tests.integration.running import ROOT, Broker, StartBroker, StartWorker, as_blob, in_base64, photograph, until
from tests.integration.store.rows import claim, new_batch

SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}
BODY = {"type": "upscaler", "records": [as_blob(photograph("chelsea-face.webp"))]}
CHILDREN, IMAGES = 500, 10
_batches = table(BatchRow)


async def waiting(redis: ArqRedis) -> int:
    return int(await redis.zcard(queue_name("upscaler")))


async def test_a_nudge_leaves_only_after_the_commit(start_broker: StartBroker, valkey_url: str) -> None:
    broker = await start_broker(redis_url=valkey_url)
    redis = connect(valkey_url)
    async with broker.store.locked():
        posting = asyncio.create_task(broker.http.post(ROOT, json=BODY))
        # The picture is stored right before the row, so from here on the POST waits for its commit.
        await until(lambda: _true(bool(broker.blobs) and all(Path(key).name == "0" for key in broker.blobs)))
        for _ in range(20):
            await asyncio.sleep(0.02)
            assert not posting.done()
            assert await waiting(redis) == 0
    assert (await posting).status_code == 201
    await until(lambda: waiting(redis))
    await disconnect(redis)


async def _true(holds: bool) -> bool:
    return holds


async def add_folder(broker: Broker, record: Mapping[str, Any]) -> None:
    """A parent that waits for CHILDREN batches of IMAGES such records each, accepted before what comes now."""
    await broker.post({"type": "hostile", "endpoint": "sleep", "records": [record] * IMAGES})
    row = await broker.store.row(select(_batches))
    await broker.store.change(update(_batches).values(records="[]", size=0))
    (parent,) = await claim(broker.core.database, types=("hostile",))
    like = {"type": row.type, "endpoint": row.endpoint, "records": row.records, "size": IMAGES}
    children = [NewChild(place, new_batch(broker.tenant.workspace, **like)) for place in range(CHILDREN)]
    assert await broker.core.database.writer.write(add_children, Expansion(parent.lease, tuple(children), None))


async def test_a_folder_of_5000_images_delays_a_fresh_batch_by_at_most_one_of_its_batches(
    hostile: Path, start_broker: StartBroker, start_worker: StartWorker, tmp_path: Path
) -> None:
    """The worker has one slot, which a child has when the fresh batch comes; no other child begins before that."""
    broker = await start_broker()
    await add_folder(broker, {**SOURCE, "seconds": 0.005, "ledger": str(tmp_path / "ledger")})
    await start_worker("hostile", worker_batches=1, worker_threads=1)
    children = select(func.count()).where(_batches.c.parent_id.is_not(None))

    async def begun() -> int:
        return int((await broker.store.row(children.where(_batches.c.lease_seq > 0)))[0])

    async def some() -> bool:
        return await begun() > 2

    await until(some)
    aside, gate = tmp_path / "aside", tmp_path / "gate"
    fresh = {**SOURCE, "ledger": str(aside), "gate": str(gate)}
    id = (await broker.post({"type": "hostile", "endpoint": "gate", "records": [fresh]}))["id"]
    before = await begun()
    await until(lambda: _true(aside.exists()))
    assert await begun() - before <= 1
    gate.touch()
    await broker.done(id)
    assert (await broker.store.row(children))[0] == CHILDREN
    assert (await broker.store.row(children.where(_batches.c.status == "CREATED")))[0] > 0
