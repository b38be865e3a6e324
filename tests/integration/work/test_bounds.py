"""What a worker holds at once, however much waits."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from broker.work.record import RECORDS_AT_ONCE
from tests.integration.running import StartBroker, StartWorker, in_base64, photograph, until

BATCHES, EACH = 4, 10


async def test_a_worker_holds_the_pictures_of_no_more_than_32_records(
    hostile: Path, start_broker: StartBroker, start_worker: StartWorker, tmp_path: Path
) -> None:
    """Each record waits at a gate of its own: one that ends makes room for one more."""
    broker = await start_broker()
    await start_worker(worker_batches=BATCHES)
    picture = in_base64(photograph("chelsea-face.webp"))
    ledgers = [tmp_path / f"ledger {number}" for number in range(BATCHES * EACH)]
    gates = {ledger: ledger.with_suffix(".gate") for ledger in ledgers}
    ids = []
    for batch in range(BATCHES):
        records = [
            {"_base64": picture, "ledger": str(ledger), "gate": str(gates[ledger])}
            for ledger in ledgers[batch * EACH :][:EACH]
        ]
        accepted = await broker.post({"type": "hostile-async", "endpoint": "gate", "records": records})
        ids.append(accepted["id"])

    async def begun(count: int) -> list[Path] | None:
        found = [ledger for ledger in ledgers if ledger.exists()]
        return found if len(found) >= count else None

    for ended in range(len(ledgers) - RECORDS_AT_ONCE):
        working = await until(partial(begun, RECORDS_AT_ONCE + ended))
        assert len(working) == RECORDS_AT_ONCE + ended
        gates[next(ledger for ledger in working if not gates[ledger].exists())].touch()
    for gate in gates.values():
        gate.touch()
    ends = await asyncio.gather(*(broker.done(id) for id in ids))
    assert {record["_status"]["code"] for end in ends for record in end["response"]["records"]} == {200}
