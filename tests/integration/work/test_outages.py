"""What is no fault of a record: the batch goes back, waits, and is done when all is there again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from sqlalchemy import Row, select, update
from structlog.testing import capture_logs

from broker.bootstrap.work import open_work
from broker.queue.embedded import EmbeddedValkey
from broker.store.clock import db_now
from broker.store.tables import BatchRow, ResultRow, WorkspaceRow, table
from tests.integration.net.servers import Web
from tests.integration.receiver import Receiver
from tests.integration.running import (
    Broker,
    StartBroker,
    StartWorker,
    Worker,
    in_base64,
    photograph,
    settings_for,
    until,
)
from tests.integration.work.scene import Scene

SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}
LOST = {"lease.let_go", "lease.lost", "batch.dropped", "batch.hindered"}
_batches = table(BatchRow)


async def given_back(broker: Broker, id: str) -> Row[Any]:
    """The batch once it has been claimed and given back."""

    async def back() -> Row[Any] | None:
        row = await broker.store.row(select(_batches).where(_batches.c.id == id))
        return row if row.status == "CREATED" and row.lease_seq >= 1 else None

    return await until(back)


class BlobFolder:
    """The folder of the blob store, which a test takes away and brings back."""

    def __init__(self, broker: Broker) -> None:
        folder = broker.core.blobs.folder
        assert folder is not None
        self._folder, self._aside = folder, folder.with_name("aside")

    def take_away(self, instead: str) -> None:
        self._folder.rename(self._aside)
        if instead == "a file":
            self._folder.write_text("no folder")

    def bring_back(self) -> None:
        self._folder.unlink(missing_ok=True)
        self._aside.rename(self._folder)


async def test_sent_picture_that_cannot_be_read_gives_the_batch_back(broker: Broker, worker: Worker) -> None:
    """Its folder is away for a while; that is not what an expired picture looks like."""
    for instead in ("a file", "nothing"):
        folder = BlobFolder(broker)
        await broker.store.change(update(table(WorkspaceRow)).values(paused=True))
        accepted = await broker.post({"type": "upscaler", "records": [SOURCE, SOURCE]})
        folder.take_away(instead)
        await broker.store.change(update(table(WorkspaceRow)).values(paused=False))
        batch = await given_back(broker, accepted["id"])
        assert batch.crashes == 0
        assert batch.due > batch.modified
        folder.bring_back()
        await broker.store.change(update(_batches).values(due=0))
        records = (await broker.done(accepted["id"]))["response"]["records"]
        assert [record["_status"]["code"] for record in records] == [200, 200], instead


async def test_batch_that_is_hindered_rests_two_seconds_then_longer_and_ten_at_most(
    broker: Broker, images: Web, database_url: str, tmp_path: Path
) -> None:
    await broker.post({"type": "upscaler", "records": [{"_url": images.url("/face.webp")}]})
    async with open_work(settings_for(tmp_path, database_url)) as work:
        BlobFolder(broker).take_away("a file")
        for claims, rest_ms in ((1, 2_000), (2, 4_000), (3, 8_000), (4, 10_000), (50, 10_000)):
            await broker.store.change(update(_batches).values(due=0, lease_seq=claims - 1))
            (claim,) = await work.claim(work.types, 1)
            await work.run(claim)
            batch = await broker.store.row(select(_batches))
            # Both were read off the clock in one statement, one after the other.
            assert rest_ms - 100 < batch.due - batch.modified < rest_ms + 500
            assert (batch.status, batch.lease_seq, batch.crashes) == ("CREATED", claims, 0)


async def test_batch_that_a_stop_gives_back_is_due_at_once(
    hostile: Path, start_broker: StartBroker, database_url: str, tmp_path: Path
) -> None:
    """Nothing hindered it, so the next worker need not wait; nor after the many claims of a rolling deploy."""
    broker = await start_broker()
    ledger = tmp_path / "ledger"
    record = {**SOURCE, "gate": str(tmp_path / "never"), "ledger": str(ledger)}
    await broker.post({"type": "hostile-async", "endpoint": "gate", "records": [record]})
    await broker.store.change(update(_batches).values(lease_seq=50))

    async def began() -> bool:
        return ledger.exists()

    async with open_work(settings_for(tmp_path, database_url)) as work:
        (claim,) = await work.claim(work.types, 1)
        running = asyncio.create_task(work.run(claim))
        await until(began)
        running.cancel()
        await asyncio.wait({running})
    batch = await broker.store.row(select(_batches))
    assert (batch.status, batch.lease_seq, batch.crashes) == ("CREATED", 51, 0)
    assert batch.due <= batch.modified


async def test_output_that_cannot_be_stored_gives_the_batch_back(broker: Broker, worker: Worker, images: Web) -> None:
    folder = BlobFolder(broker)
    folder.take_away("a file")
    accepted = await broker.post({"type": "upscaler", "records": [{"_url": images.url("/face.webp")}]})
    await given_back(broker, accepted["id"])
    assert await broker.store.rows(select(table(ResultRow))) == []
    folder.bring_back()
    await broker.store.change(update(_batches).values(due=0))
    (record,) = (await broker.done(accepted["id"]))["response"]["records"]
    assert record["_status"]["code"] == 200
    batch = await broker.store.row(select(_batches))
    assert (batch.outcome, batch.crashes) == ("succeeded", 0)


async def test_end_that_waits_for_the_database_for_a_lease_costs_no_second_run(
    hostile: Path, start_broker: StartBroker, start_worker: StartWorker, receiver: Receiver, tmp_path: Path
) -> None:
    """The lease cannot be kept meanwhile, and is over by the clock; but the end is on its way, and nobody took it."""
    scene = Scene(await start_broker(), tmp_path)
    await start_worker(lease_seconds=3.0)
    id = await scene.post(scene.held(), webhook={"endpoint": receiver.url()})
    await scene.began(1)

    async def over() -> bool:
        return bool((await scene.broker.store.row(select(db_now() > claimed.lease_until)))[0])

    with capture_logs() as logs:
        async with scene.broker.store.locked():
            claimed = await scene.batch()
            scene.gate.touch()
            await until(over)
        records = (await scene.broker.done(id))["response"]["records"]
    assert [record["_status"]["code"] for record in records] == [200]
    batch = await scene.batch()
    assert (batch.lease_seq, batch.crashes, scene.noted()["0 started"]) == (claimed.lease_seq, 0, 1)
    assert len(await receiver.posted()) == 1
    assert LOST.isdisjoint(line["event"] for line in logs)


async def test_redis_that_dies_in_mid_work_costs_no_batch_and_no_webhook(
    start_broker: StartBroker, start_worker: StartWorker, tmp_path: Path, images: Web, receiver: Receiver
) -> None:
    server = EmbeddedValkey(tmp_path / "redis")
    url = server.start()
    broker = await start_broker(redis_url=url)
    await start_worker(redis_url=url)
    source, hook = {"_url": images.url("/face.webp")}, {"endpoint": receiver.url()}
    for posts in (1, 2):
        assert (await broker.run("upscaler", source, webhook=hook))[0]["_status"]["code"] == 200
        assert (await receiver.posted(posts))[-1].json()["status"] == "DONE"
        server.stop()
