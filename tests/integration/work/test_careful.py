"""Batches that took a worker down: alone in theirs, in turns with all others, and never without a lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import update

from broker.bootstrap.work import open_work
from broker.store.claims import Claim
from broker.store.database import Database, open_session
from broker.store.tables import BatchRow, table
from broker.work.beat import Heartbeat
from broker.work.claims import Claims
from tests.integration.running import StartBroker, in_base64, photograph, settings_for, until
from tests.integration.store.rows import TYPE, accept, execute

LEASE = 600.0
SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}
TOOK_ONE_DOWN = "UPDATE batches SET crashes = 1 WHERE id = :id"
TOOK_ONE_DOWN_LONG_AGO = "UPDATE batches SET crashes = 1, due = due - 10000 WHERE id = :id"


class Taking:
    """A worker's claims; a run ends when the test says so."""

    def __init__(self, claims: Claims, heartbeat: Heartbeat) -> None:
        self._claims = claims
        self._held = heartbeat.held

    @property
    def more(self) -> bool:
        return self._claims.more

    async def __call__(self, free: int = 1) -> Sequence[Claim]:
        return await self._claims((TYPE,), free)

    def end(self, claim: Claim) -> None:
        self._held.drop(claim.lease)


@pytest.fixture
def turn_seconds() -> float:
    """How long batches that need care have their turn; in this short a time, one of them."""
    return 0.0


@pytest.fixture
async def take(database: Database, database_url: str, tmp_path: Path, turn_seconds: float) -> AsyncIterator[Taking]:
    heartbeat = Heartbeat(partial(open_session, database_url, tmp_path), "worker", LEASE)
    await heartbeat.start()
    yield Taking(Claims(database, heartbeat, "worker", LEASE, turn_seconds=turn_seconds), heartbeat)
    await heartbeat.aclose()


async def test_nothing_is_claimed_beside_a_batch_that_took_a_worker_down(
    database: Database, workspace_id: str, take: Taking
) -> None:
    crashed, other = await accept(database, workspace_id, 2)
    await execute(database, TOOK_ONE_DOWN, id=crashed)
    (careful,) = await take(8)
    assert (careful.id, careful.careful, take.more) == (crashed, True, True)
    assert (await take(), take.more) == ((), True)
    take.end(careful)
    (next,) = await take()
    assert (next.id, next.careful, take.more) == (other, False, False)


async def test_a_worker_that_runs_something_takes_none_beside_it_and_waits_to_be_idle(
    database: Database, workspace_id: str, take: Taking
) -> None:
    first, crashed, other = await accept(database, workspace_id, 3)
    (running,) = await take()
    assert (running.id, take.more) == (first, False)
    await execute(database, TOOK_ONE_DOWN_LONG_AGO, id=crashed)
    assert (await take(7), take.more) == ((), True)
    take.end(running)
    (careful,) = await take(8)
    assert (careful.id, careful.careful) == (crashed, True)
    take.end(careful)
    assert [claim.id for claim in await take(8)] == [other]


@pytest.mark.parametrize(
    ("turn_seconds", "crashed", "fresh", "turns"),
    [
        (0, 2, 1, "careful fresh careful"),
        (0, 2, 3, "careful fresh careful fresh fresh"),
        (600, 2, 1, "careful careful fresh"),
    ],
)
async def test_batches_that_took_a_worker_down_take_turns_with_all_others(
    database: Database, workspace_id: str, take: Taking, crashed: int, fresh: int, turns: str
) -> None:
    """Neither waits for the last of the others, whichever is the elder."""
    ids = await accept(database, workspace_id, crashed + fresh)
    for id in ids[:crashed]:
        await execute(database, TOOK_ONE_DOWN, id=id)
    kinds = []
    for _ in ids:
        (claim,) = await take()
        kinds.append("careful" if claim.careful else "fresh")
        take.end(claim)
    assert " ".join(kinds) == turns
    assert await take() == ()


async def test_record_of_a_lost_batch_is_not_begun_with_care(
    hostile: Path, start_broker: StartBroker, database_url: str, tmp_path: Path
) -> None:
    """The lease goes while the first record runs; the heartbeat, which would end the run, does not know it yet."""
    broker = await start_broker()
    gate, ledger = tmp_path / "gate", tmp_path / "ledger"
    record = {**SOURCE, "gate": str(gate), "ledger": str(ledger)}
    await broker.post({"type": "hostile", "endpoint": "gate", "records": [record] * 3})
    batches = table(BatchRow)
    await broker.store.change(update(batches).values(crashes=1))

    async def began() -> bool:
        return ledger.exists()

    async with open_work(settings_for(tmp_path, database_url, lease_seconds=LEASE)) as work:
        (claim,) = await work.claim(work.types, 1)
        running = asyncio.create_task(work.run(claim))
        await until(began)
        taken = {"lease_seq": 2, "lease_owner": "another", "lease_until": 2**52}
        assert await broker.store.change(update(batches).values(**taken)) == 1
        gate.touch()
        await running
        assert work.heartbeat.held.idle
    assert ledger.read_text().splitlines() == ["0 started"]
