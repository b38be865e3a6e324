"""The end of an `Idempotency-Key`'s life, from the POST that brought it to the one that uses its name anew."""

from __future__ import annotations

import httpx
from sqlalchemy import select, update

from broker.store.tables import BatchRow, table
from tests.integration.running import ROOT, Broker, StartWorker

DAY_MS = 24 * 3_600_000
MINUTE_MS = 60_000
_batches = table(BatchRow)


async def post(broker: Broker, key: str, picture: str) -> httpx.Response:
    body = {"type": "upscaler", "records": [{"_url": f"https://images.example.com/{picture}.jpg"}]}
    return await broker.http.post(ROOT, json=body, headers={"Idempotency-Key": key})


async def let_grow_older(broker: Broker, key: str, ms: int) -> None:
    mine = update(_batches).where(_batches.c.idempotency_key == key)
    assert await broker.store.change(mine.values(created=_batches.c.created - ms)) == 1


async def test_key_is_forgotten_after_24_hours_though_nobody_uses_it_and_not_before(
    broker: Broker, start_worker: StartWorker
) -> None:
    first = {key: (await post(broker, key, "a")).json()["id"] for key in ("over-age", "used-anew", "young")}
    for key, ms in (("over-age", DAY_MS + 1), ("used-anew", DAY_MS + 1), ("young", DAY_MS - MINUTE_MS)):
        await let_grow_older(broker, key, ms)
    assert (await post(broker, "used-anew", "b")).status_code == 409
    await broker.web.pause.pause_workspace(broker.tenant.workspace)
    worker = await start_worker()
    await worker.work.retention.once()

    kept = await broker.store.rows(select(_batches.c.id, _batches.c.idempotency_key, _batches.c.body_hash))
    assert {row.id: (row.idempotency_key, row.body_hash is not None) for row in kept} == {
        first["over-age"]: (None, False),
        first["used-anew"]: (None, False),
        first["young"]: ("young", True),
    }
    anew = await post(broker, "used-anew", "b")
    assert (anew.status_code, anew.json()["id"] in first.values()) == (201, False)
    assert (await post(broker, "used-anew", "a")).status_code == 409
    assert (await post(broker, "young", "b")).status_code == 409
    assert (await post(broker, "young", "a")).json()["id"] == first["young"]
