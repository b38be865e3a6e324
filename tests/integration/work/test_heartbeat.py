"""Heartbeats: when they beat and let go, whom they tell, and what they give back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.bootstrap.work import open_work
from broker.deliveries import DueDelivery, NewDelivery
from broker.store.claims import Claim
from broker.store.database import Database, open_database, open_session
from broker.store.leases import GiveBack
from broker.store.writer import Session, Work, Writer
from broker.work.beat import Heartbeat
from broker.work.claims import Claims
from tests.databases import run_aside
from tests.integration.receiver import Receiver
from tests.integration.running import StartBroker, in_base64, photograph, settings_for, until
from tests.integration.store.rows import TYPE, accept, claim, execute, select

SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}
OWNER = "the worker"
LEASE = 30.0
OWN = 0.9 * LEASE
"""For how long a lease is its worker's beyond doubt."""
SOON = LEASE / 4
"""Surely before the next beat that is due, and long enough for anything that is to come now."""


class Line:
    """A connection to the database that may be cut, and over which answers may come late."""

    def __init__(self, session: Session) -> None:
        self.cut = False
        self.late = 0.0
        self.begun: list[float] = []
        self.refused = 0
        self._session = session

    async def transact(self, work: Work, *, brief: bool = False, flush: bool = True, single: bool = False) -> list[Any]:
        self.begun.append(time.monotonic())
        if self.cut:
            self.refused += 1
            raise ConnectionError("cut")
        results = await self._session.transact(work, brief=brief, flush=flush, single=single)
        await asyncio.sleep(self.late)
        return results

    async def close(self) -> None:
        await self._session.close()

    async def refuses_more(self) -> None:
        """Until one more write has been refused."""
        before = self.refused

        async def more() -> bool:
            return self.refused > before

        await until(more, SOON)


class Rest(asyncio.Future[None]):
    """What a batch's run waits for; it notes the thread on which it is cancelled."""

    cancelled_on: threading.Thread | None = None

    def cancel(self, msg: Any = None) -> bool:
        self.cancelled_on = threading.current_thread()
        return super().cancel(msg)


@asynccontextmanager
async def beating(line: Line, lease: float = LEASE) -> AsyncIterator[Heartbeat]:
    heartbeat = Heartbeat(lambda: line, OWNER, lease)
    await heartbeat.start()
    try:
        yield heartbeat
    finally:
        await heartbeat.aclose()


@pytest.fixture
def line(database_url: str, tmp_path: Path) -> Line:
    return Line(open_session(database_url, tmp_path))


@pytest.fixture
async def heartbeat(line: Line) -> AsyncIterator[Heartbeat]:
    async with beating(line) as heartbeat:
        yield heartbeat


@pytest.fixture
async def claims(database: Database, workspace_id: str) -> list[Claim]:
    """Two batches that are the worker's."""
    await accept(database, workspace_id, 2)
    return await claim(database, owner=OWNER)


def ago(seconds: float) -> float:
    return time.monotonic() - seconds


def run(heartbeat: Heartbeat, claimed: Claim, rest: Rest) -> asyncio.Task[None]:
    """The task of a held batch; it goes on until the heartbeat ends it."""

    async def until_ended() -> None:
        if heartbeat.held.begin(claimed.lease):
            await rest

    return asyncio.create_task(until_ended())


async def hand_over(database: Database, claimed: Claim) -> None:
    """Another worker has the batch now."""
    taken = "UPDATE batches SET lease_seq = 2, lease_owner = 'another' WHERE id = :id"
    await execute(database, taken, id=claimed.id)


async def statuses(database: Database) -> list[tuple[Any, ...]]:
    return await select(database, "SELECT status, crashes, lease_seq FROM batches")


async def beat_once(heartbeat: Heartbeat, claimed: Claim) -> None:
    """A batch whose claim had to wait so long that its lease is extended now, not by the next beat that is due."""
    held = heartbeat.held
    asked = ago(LEASE / 2)
    heartbeat.hold([claimed], asked)

    async def extended() -> bool:
        return not held.doubtful(asked + OWN)

    await until(extended, SOON)


async def told(logs: Sequence[Mapping[str, Any]], event: str, times: int = 1) -> list[str]:
    """The batches of an event, once it was logged so often."""

    async def so_often() -> list[str] | None:
        batches = [line["batch"] for line in logs if line["event"] == event]
        return batches if len(batches) >= times else None

    return await until(so_often, SOON)


async def first_to_end(*runs: asyncio.Task[None]) -> list[bool]:
    """Which of the runs end soon, and at once."""
    await asyncio.wait(runs, timeout=SOON, return_when=asyncio.FIRST_COMPLETED)
    ended = [run.done() for run in runs]
    for run in runs:
        run.cancel()
    await asyncio.wait(runs)
    return ended


async def test_worker_lets_go_before_others_may_take_what_it_cannot_extend(
    line: Line, heartbeat: Heartbeat, claims: list[Claim]
) -> None:
    line.cut = True
    young, old = claims
    heartbeat.hold([young], ago(0.6 * LEASE))
    heartbeat.hold([old], ago(0.93 * LEASE))
    with capture_logs() as logs:
        assert await first_to_end(run(heartbeat, young, Rest()), run(heartbeat, old, Rest())) == [False, True]
        assert await told(logs, "lease.let_go") == [old.id]


async def test_run_ends_as_soon_as_a_beat_finds_its_lease_lost(
    database: Database, heartbeat: Heartbeat, claims: list[Claim]
) -> None:
    lost, kept = claims
    heartbeat.hold(claims, ago(0))
    runs = [run(heartbeat, one, Rest()) for one in claims]
    await hand_over(database, lost)
    with capture_logs() as logs:
        await beat_once(heartbeat, kept)
        assert await first_to_end(*runs) == [True, False]
        assert await told(logs, "lease.lost") == [lost.id]
    assert "lease.let_go" not in [line["event"] for line in logs]


async def test_run_is_cancelled_on_the_thread_of_its_own_event_loop(
    database: Database, heartbeat: Heartbeat, claims: list[Claim]
) -> None:
    """asyncio's tasks are not safe to touch from another thread, and its loop would not wake up for that."""
    lost, kept = claims
    rest = Rest()
    heartbeat.hold([lost], ago(0))
    ended = run(heartbeat, lost, rest)
    await hand_over(database, lost)
    await beat_once(heartbeat, kept)
    await asyncio.wait({ended}, timeout=SOON)
    assert rest.cancelled_on is threading.current_thread()


async def test_lease_counts_from_the_question_whose_answer_comes_late(
    line: Line, heartbeat: Heartbeat, claims: list[Claim]
) -> None:
    """The database counted it from some moment between the two."""
    line.late = 0.5
    claimed, _ = claims
    await beat_once(heartbeat, claimed)
    (asked,) = line.begun
    assert heartbeat.held.doubtful(asked + OWN) == [claimed.lease]


async def test_lease_of_a_claim_counts_from_the_question_whose_answer_comes_late(
    database: Database, workspace_id: str, line: Line, database_url: str, tmp_path: Path
) -> None:
    await accept(database, workspace_id)
    heartbeat = Heartbeat(lambda: line, OWNER, LEASE)
    slow = replace(database, writer=Writer(line))
    line.late = 0.5
    before = time.monotonic()
    (claimed,) = await Claims(slow, heartbeat, OWNER, LEASE)([TYPE], 1)
    await slow.writer.aclose()
    (asked,) = line.begun
    assert heartbeat.held.doubtful(before + OWN - 0.001) == []
    assert heartbeat.held.doubtful(asked + OWN) == [claimed.lease]


async def test_beats_come_every_third_of_a_lease(line: Line, claims: list[Claim]) -> None:
    lease = 1.2
    async with beating(line, lease) as heartbeat:
        heartbeat.hold(claims, ago(0))

        async def four() -> list[float] | None:
            return line.begun[:4] if len(line.begun) >= 4 else None

        beats = await until(four)
    pauses = [later - earlier for earlier, later in pairwise(beats)]
    assert lease / 3 - 0.02 < min(pauses) < lease / 2


async def test_give_back_that_the_database_refuses_is_repeated(
    database: Database, line: Line, heartbeat: Heartbeat, claims: list[Claim]
) -> None:
    line.cut = True
    with capture_logs() as logs:
        for one in claims:
            heartbeat.give_back(GiveBack(one.lease))
        await line.refuses_more()
        line.cut = False
        assert await told(logs, "batch.given_back", 2) == [one.id for one in claims]
    assert await statuses(database) == [("CREATED", 0, 1)] * 2


async def test_give_back_that_the_database_refuses_is_repeated_while_closing(
    database: Database, line: Line, claims: list[Claim]
) -> None:
    line.cut = True
    async with beating(line) as heartbeat:
        for one in claims:
            heartbeat.give_back(GiveBack(one.lease))
        await line.refuses_more()
        closing = asyncio.create_task(heartbeat.aclose())
        await asyncio.sleep(0)
        await line.refuses_more()
        line.cut = False
        await closing
    assert await statuses(database) == [("CREATED", 0, 1)] * 2


async def test_give_back_of_a_lease_that_was_lost_meanwhile_changes_nothing(
    database: Database, heartbeat: Heartbeat, claims: list[Claim]
) -> None:
    lost, _ = claims
    await hand_over(database, lost)
    with capture_logs() as logs:
        heartbeat.give_back(GiveBack(lost.lease))
        assert await told(logs, "batch.dropped") == [lost.id]
    assert sorted(await statuses(database)) == [("PROCESSING", 0, 1), ("PROCESSING", 0, 2)]


async def test_after_a_claim_that_failed_only_what_is_older_than_a_quarter_of_a_lease_is_given_back(
    database: Database, workspace_id: str, line: Line
) -> None:
    """What is younger may be of a claim whose answer is still to come, and is not held for that reason alone."""
    lease = 1000.0
    await accept(database, workspace_id, 3)
    held, young, old = await claim(database, owner=OWNER, lease_ms=int(lease * 1000))
    for claimed, part in ((young, 0.2), (old, 0.26)):
        earlier = "UPDATE batches SET lease_until = lease_until - :ms WHERE id = :id"
        await execute(database, earlier, id=claimed.id, ms=int(lease * 1000 * part))
    with capture_logs() as logs:
        async with beating(line, lease) as heartbeat:
            heartbeat.doubt()
            heartbeat.hold([held], ago(lease / 2))
            assert await told(logs, "batch.given_back") == [old.id]
    waiting = await select(database, "SELECT id FROM batches WHERE status = 'CREATED'")
    assert waiting == [(old.id,)]


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

    class TwoBeatsLater:
        """Holds the event loop, where the run would end; the second beat surely began after the commit."""

        def offer(self, delivery: NewDelivery) -> NewDelivery:
            return delivery

        def owed(self, delivery: NewDelivery, begun: DueDelivery | None) -> None:
            for _ in range(2):
                before = run_aside(lease_until())
                while run_aside(lease_until()) == before:
                    time.sleep(0.01)

        def wake(self) -> None: ...

    async with open_work(settings_for(tmp_path, database_url, lease_seconds=4, worker_threads=2)) as work:
        run = replace(work.run, complete=replace(work.run.complete, outbox=TwoBeatsLater()))
        claims = await work.claim(work.types, 2)
        runs = [asyncio.create_task(run(claim)) for claim in claims]
        await broker.done(ending["id"])
        gate.touch()
        await broker.done(running["id"])
        await asyncio.gather(*runs)
    logged = capfd.readouterr().out
    assert "lease." not in logged
    assert logged.count('"event": "batch.done"') == 2
