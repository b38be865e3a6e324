"""Heartbeats beside the end of a batch."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from broker.bootstrap.work import open_work
from broker.store.database import open_database
from tests.databases import run_aside
from tests.integration.receiver import Receiver
from tests.integration.running import StartBroker, in_base64, photograph, settings_for
from tests.integration.store.rows import select

SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}


async def test_a_beat_between_a_commit_and_the_end_of_its_run_finds_no_lost_lease(
    hostile: Path,
    start_broker: StartBroker,
    receiver: Receiver,
    database_url: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The batch is DONE, so its lease is gone; that is no loss to tell of. Another batch shows that beats went by."""
    broker = await start_broker()
    gate, ledger = tmp_path / "gate", tmp_path / "ledger"
    held = {**SOURCE, "gate": str(gate), "ledger": str(ledger)}
    running = await broker.post({"type": "hostile", "endpoint": "gate", "records": [held]})
    ending = await broker.post(
        {"type": "hostile", "records": [SOURCE], "endpoint": "echo", "webhook": {"endpoint": receiver.url()}}
    )

    async def lease_until() -> int:
        database = open_database(database_url, tmp_path)
        ((until,),) = await select(database, "SELECT lease_until FROM batches WHERE id = :id", id=running["id"])
        await database.aclose()
        return int(until)

    def two_beats_later() -> None:
        """Holds the event loop, where the run would end; the second beat surely began after the commit."""
        for _ in range(2):
            before = run_aside(lease_until())
            while run_aside(lease_until()) == before:
                time.sleep(0.01)

    async with open_work(settings_for(tmp_path, database_url, lease_seconds=6, worker_threads=2)) as work:
        run = replace(work.run, complete=replace(work.run.complete, on_delivery=two_beats_later))
        claims = await work.claim(work.types, 2)
        runs = [asyncio.create_task(run(claim)) for claim in claims]
        await broker.done(ending["id"])
        gate.touch()
        await broker.done(running["id"])
        await asyncio.gather(*runs)
    logged = capfd.readouterr().out
    assert "lease." not in logged
    assert logged.count('"event": "batch.done"') == 2
