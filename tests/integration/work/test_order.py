"""What must not happen before the commit: a nudge for a batch that is not in SQL yet."""

from __future__ import annotations

import asyncio
from pathlib import Path

from arq import ArqRedis

from broker.queue.connection import connect, disconnect, queue_name
from tests.integration.running import ROOT, StartBroker, in_base64, photograph, until

BODY = {"type": "upscaler", "records": [{"_base64": in_base64(photograph("chelsea-face.webp"))}]}


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
