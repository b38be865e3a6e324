"""Which processes see to what is kept how long, and that they do as the settings say."""

from __future__ import annotations

import asyncio
from collections import Counter

from broker.batches import Record
from broker.media.blobs import input_key, output_key
from broker.store.ends import finish_batches
from broker.store.rows import dump_records
from tests.integration.running import Broker, StartBroker, StartWorker
from tests.integration.store.ended import HOUR, back_date, id_from
from tests.integration.store.rows import accept, claim, finish, result, select
from tests.integration.stores import exists


async def test_a_worker_keeps_each_thing_as_long_as_its_setting_says(broker: Broker, start_worker: StartWorker) -> None:
    database, blobs, workspace = broker.core.database, broker.core.blobs, broker.tenant.workspace
    kept = {}
    for hours in (24, 26, 50, 98):
        id = id_from(hours * HOUR)
        keys = (input_key(workspace, id, 0), output_key(workspace, id, 1, 0, "a.jpg"))
        for key in keys:
            await blobs.put(key, b"picture")
        await accept(database, workspace, id=id, records=dump_records((Record("1", blob=keys[0]),)))
        (claimed,) = await claim(database)
        assert await database.writer.write(finish_batches, finish(claimed, result()))
        await back_date(database, id, hours * HOUR)
        kept[hours] = (id, *keys)
    worker = await start_worker(input_hours=25, output_hours=49, retention_days=4)
    await worker.work.retention.once()
    found = {hours: (await exists(blobs, sent), await exists(blobs, made)) for hours, (_, sent, made) in kept.items()}
    assert found == {24: (True, True), 26: (False, True), 50: (False, False), 98: (False, False)}
    rows = await select(database, "SELECT id FROM batches ORDER BY created, id")
    assert sorted(row[0] for row in rows) == sorted(kept[hours][0] for hours in (24, 26, 50))
    orphan = input_key(workspace, id_from(2 * HOUR), 0)
    await blobs.put(orphan, b"picture")
    assert await worker.work.orphans.search() == 1
    assert not await exists(blobs, orphan)


async def test_workers_are_caretakers_unasked_and_web_processes_of_what_outlives_workers(
    start_broker: StartBroker, start_worker: StartWorker
) -> None:
    await start_broker()
    web = caretakers()
    assert web == {"Sweep.run": 1, "Unserved.run": 1}
    await start_worker()
    assert caretakers() - web == {"Sweep.run": 1, "Retention.run": 1, "Orphans.run": 1, "Sender.run": 1}


def caretakers() -> Counter[str]:
    return Counter(name for task in asyncio.all_tasks() if (name := task.get_name()).endswith(".run"))
