"""A batch on its way: checkpoints, lost leases, rescue, and a worker that stops."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Row, insert, select, text, update
from structlog.testing import capture_logs

from broker.store.claims import ClaimOrder, claim_batches
from broker.store.clock import db_now
from broker.store.crashes import GIVEN_UP_CODE, Look, RescueOrder, rescue_batches
from broker.store.tables import BatchRow, DeliveryRow, ResultRow, table
from tests.integration.receiver import Receiver
from tests.integration.running import Broker, StartBroker, StartWorker, in_base64, photograph, until

REFUSE_POISON = {
    "sqlite": [
        "CREATE TRIGGER refuse BEFORE INSERT ON results WHEN NEW.facts LIKE '%poison%' "
        "BEGIN SELECT RAISE(ABORT, 'refused'); END"
    ],
    "postgresql": [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE check_violation USING MESSAGE = 'refused'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON results FOR EACH ROW WHEN (NEW.facts LIKE '%poison%') "
        "EXECUTE FUNCTION refuse()",
    ],
}
SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}
_batches, _results = table(BatchRow), table(ResultRow)


@pytest.fixture
async def broker(hostile: Path, start_broker: StartBroker) -> Broker:
    return await start_broker()


class Scene:
    """A batch whose records note in a ledger that they began, and wait at a gate if they have one."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.broker = broker
        self.gate = folder / "gate"
        self._ledger = folder / "ledger"
        self._ledger.touch()

    def free(self) -> dict[str, Any]:
        return {**SOURCE, "ledger": str(self._ledger)}

    def held(self) -> dict[str, Any]:
        return {**self.free(), "gate": str(self.gate)}

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

    async def batch(self, id: str | None = None) -> Row[Any]:
        """The row of a batch, by default of the only one."""
        every = select(_batches)
        return await self.broker.store.row(every if id is None else every.where(_batches.c.id == id))

    async def stored(self) -> list[int]:
        """Places of the results in SQL."""
        rows = await self.broker.store.rows(select(_results.c.position).order_by(_results.c.position))
        return [row.position for row in rows]

    async def lose_lease(self) -> None:
        """As when the worker has not beaten for a long time, and the sweep has found that."""
        order = RescueOrder(10, lease_ms=0, since=0, until=2**52, max_crashes=3)
        look = await self.broker.core.database.writer.write(_lose_and_rescue, order)
        assert len(look.rescued) == 1


def _lose_and_rescue(connection: Connection, orders: Sequence[RescueOrder]) -> list[Look]:
    """In one transaction, so that no beat comes between."""
    late = update(_batches).where(_batches.c.status == "PROCESSING").values(lease_until=1)
    assert connection.execute(late).rowcount == 1
    return rescue_batches(connection, orders)


@pytest.fixture
def scene(broker: Broker, tmp_path: Path) -> Scene:
    return Scene(broker, tmp_path)


async def test_finished_records_are_safe_while_another_still_runs(scene: Scene, start_worker: StartWorker) -> None:
    await start_worker(worker_threads=3)
    id = await scene.post(scene.free(), scene.free(), scene.held())
    await scene.began(3)

    async def both() -> bool:
        return await scene.stored() == [0, 1]

    await until(both, 10)
    batch = await scene.batch()
    assert (batch.status, batch.lease_seq) == ("PROCESSING", 1)
    details = await scene.broker.details(id)
    assert "response" not in details
    scene.gate.touch()
    assert len((await scene.broker.done(id))["response"]["records"]) == 3


async def test_records_that_finish_while_a_checkpoint_is_written_are_stored_too(
    scene: Scene, start_worker: StartWorker, tmp_path: Path
) -> None:
    """The first checkpoint must wait for the database; the second record ends meanwhile, the third not at all."""
    await start_worker(worker_threads=3)
    second = {**scene.free(), "gate": str(tmp_path / "second")}
    id = await scene.post(scene.free(), second, scene.held())
    await scene.began(3)
    async with scene.broker.store.locked():
        await asyncio.sleep(1.5)
        (tmp_path / "second").touch()
        await asyncio.sleep(0.3)

    async def both() -> bool:
        return await scene.stored() == [0, 1]

    await until(both, 10)
    scene.gate.touch()
    await scene.broker.done(id)


async def test_rescued_batch_runs_only_what_is_not_stored(
    scene: Scene, start_worker: StartWorker, receiver: Receiver
) -> None:
    await start_worker(worker_threads=3, lease_seconds=1.5)
    hook = {"endpoint": receiver.url()}
    id = await scene.post(scene.free(), scene.free(), scene.held(), webhook=hook, type="hostile-async")
    await scene.began(3)

    async def both() -> bool:
        return await scene.stored() == [0, 1]

    await until(both, 10)
    kept = await scene.broker.store.rows(select(_results).order_by(_results.c.position))
    await scene.lose_lease()
    await scene.began(4)
    batch = await scene.batch()
    assert (batch.status, batch.lease_seq, batch.crashes) == ("PROCESSING", 2, 1)
    scene.gate.touch()
    records = (await scene.broker.done(id))["response"]["records"]
    assert [record["_status"]["code"] for record in records] == [200] * 3
    assert scene.noted()["0 started"] == scene.noted()["1 started"] == 1
    assert scene.noted()["2 started"] == 2
    rows = await scene.broker.store.rows(select(_results).order_by(_results.c.position))
    assert rows[:2] == kept
    assert (rows[2].lease_seq, [record["_status"]["request_id"] for record in records]) == (
        2,
        [row.request_id for row in rows],
    )
    await receiver.posted()
    assert len(await scene.broker.store.rows(select(table(DeliveryRow)))) == 1


async def test_lost_lease_ends_the_run_and_writes_nothing(
    scene: Scene, start_worker: StartWorker, receiver: Receiver
) -> None:
    await start_worker(lease_seconds=0.6, worker_threads=2)
    id = await scene.post(scene.held(), type="hostile-async", webhook={"endpoint": receiver.url()})
    await scene.began(1)
    taken = update(_batches).values(lease_seq=_batches.c.lease_seq + 1, lease_owner="another", lease_until=2**52)
    await scene.broker.store.change(taken)

    async def cancelled() -> bool:
        return scene.noted()["0 cancelled"] == 1

    await until(cancelled)
    before = await scene.batch()
    scene.gate.touch()
    await scene.broker.run("hostile-async", scene.free(), endpoint="gate")
    assert await scene.batch(id) == before
    assert (before.status, before.lease_owner, before.lease_seq) == ("PROCESSING", "another", 2)
    assert await scene.broker.store.rows(select(_results).where(_results.c.batch_id == id)) == []
    assert receiver.posts == []
    assert await scene.broker.store.rows(select(table(DeliveryRow))) == []


async def test_late_end_of_a_lost_run_changes_nothing(
    scene: Scene, start_worker: StartWorker, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    """The worker has not noticed yet that its lease went to another, who is done already."""
    worker = await start_worker()
    id = await scene.post(scene.held(), scene.held(), webhook={"endpoint": receiver.url()})
    await scene.began(2)
    other = update(_batches).values(status="DONE", outcome="failed", lease_seq=7, lease_owner=None, lease_until=None)
    await scene.broker.store.change(other)
    for place in (0, 1):
        row = {"batch_id": id, "position": place, "run": 1, "lease_seq": 7, "code": 500, "text": "theirs"}
        await scene.broker.store.change(insert(_results).values(**row, request_id=id, facts="{}", finished=1))
    before = await scene.batch()
    scene.gate.touch()

    async def idle() -> bool:
        return not worker.batches.running

    await until(idle)
    assert '"event": "batch.stale"' in capfd.readouterr().out
    assert await scene.batch() == before
    records = (await scene.broker.details(id))["response"]["records"]
    assert [record["_status"]["text"] for record in records] == ["theirs"] * 2
    assert await scene.broker.store.rows(select(table(DeliveryRow))) == []


async def test_lease_is_kept_while_records_run(scene: Scene, start_worker: StartWorker) -> None:
    await start_worker(lease_seconds=0.5)
    id = await scene.post(scene.held())
    await scene.began(1)
    first = (await scene.batch()).lease_until

    async def four_leases_later() -> bool:
        batch = await scene.batch()
        assert (batch.status, batch.lease_seq) == ("PROCESSING", 1)
        return bool(batch.lease_until > first + 2000)

    await until(four_leases_later)
    scene.gate.touch()
    await scene.broker.done(id)
    assert scene.noted()["0 started"] == 1


async def test_batch_of_a_dead_worker_is_swept_up_and_done(scene: Scene, start_worker: StartWorker) -> None:
    id = await scene.post(scene.free())
    order = ClaimOrder("a worker that dies", ("hostile",), 1, 300)
    (claim,) = (await scene.broker.core.database.writer.write(claim_batches, order)).claims
    assert claim.id == id
    await start_worker(lease_seconds=1.0)
    await scene.broker.done(id)
    batch = await scene.batch()
    assert (batch.lease_seq, batch.crashes, batch.outcome) == (2, 1, "succeeded")


async def test_stopping_worker_gives_back_at_once_what_does_not_end_in_its_grace(
    scene: Scene, start_worker: StartWorker
) -> None:
    worker = await start_worker(grace_seconds=0.3, worker_threads=2)
    id = await scene.post(scene.held(), scene.held())
    await scene.began(2)
    await worker.stop()
    batch = await scene.batch()
    assert (batch.status, batch.crashes, batch.lease_owner, batch.lease_until) == ("CREATED", 0, None, None)
    scene.gate.touch()
    await start_worker()
    await scene.broker.done(id)
    batch = await scene.batch()
    assert (batch.lease_seq, batch.crashes) == (2, 0)


async def test_stopping_worker_lets_what_runs_end_in_its_grace(scene: Scene, start_worker: StartWorker) -> None:
    worker = await start_worker(grace_seconds=30)
    running = await scene.post(scene.held())
    await scene.began(1)
    worker.batches.stop()
    later = await scene.post(scene.free())
    scene.gate.touch()
    await worker.task
    rows = await scene.broker.store.rows(select(_batches.c.id, _batches.c.status))
    assert {row.id: row.status for row in rows} == {running: "DONE", later: "CREATED"}


async def test_batch_that_waits_too_long_is_nudged_again(
    scene: Scene, start_broker: StartBroker, start_worker: StartWorker, valkey_url: str
) -> None:
    """Accepted while Redis was not told; the sweep rings for it."""
    id = await scene.post(scene.free())
    worker = await start_worker("upscaler", redis_url=valkey_url)
    await scene.broker.store.change(update(_batches).values(due=_batches.c.due - 10_000))
    redis = worker.batches.ctx["redis"]
    await worker.work.sweep.once()

    async def rung() -> bool:
        return bool(await redis.zscore("broker:queue:hostile", f"nudge:{id}"))

    await until(rung)


async def test_worker_of_some_types_leaves_the_others_alone(scene: Scene, start_worker: StartWorker) -> None:
    left = await scene.post(scene.free(), type="hostile-async")
    done = await scene.post(scene.free())
    await start_worker("hostile", "upscaler")
    await scene.broker.done(done)
    rows = await scene.broker.store.rows(select(_batches.c.status).where(_batches.c.id == left))
    assert rows[0].status == "CREATED"


async def test_worker_that_cannot_extend_a_lease_lets_go_and_no_crash_is_counted(
    scene: Scene, start_worker: StartWorker
) -> None:
    """It ends the run before others may take the batch, and gives it back once the database is there again."""
    await start_worker(lease_seconds=1.0)
    id = await scene.post(scene.held(), type="hostile-async")
    await scene.began(1)

    async def cancelled() -> bool:
        return scene.noted()["0 cancelled"] == 1

    async with scene.broker.store.locked():
        await until(cancelled)
        assert (await scene.batch()).lease_seq == 1
    await scene.began(2)
    scene.gate.touch()
    await scene.broker.done(id)
    batch = await scene.batch()
    assert (batch.lease_seq, batch.crashes, batch.outcome) == (2, 0, "succeeded")


async def test_result_that_the_database_refuses_costs_only_its_own_record(
    scene: Scene, start_worker: StartWorker
) -> None:
    """Nobody foresaw it, so it is like a crash: the batch is run with care until the guilty record is known."""
    for statement in REFUSE_POISON[scene.broker.core.database.engine.dialect.name]:
        await scene.broker.store.change(text(statement))
    await start_worker()
    records = await scene.broker.run("hostile", SOURCE, {**SOURCE, "word": "poison"}, SOURCE, endpoint="echo")
    assert [record["_status"]["code"] for record in records] == [200, GIVEN_UP_CODE, 200]
    batch = await scene.batch()
    assert (batch.outcome, batch.run) == ("partial", 1)


async def test_batch_that_took_a_worker_down_runs_alone_and_record_by_record(
    scene: Scene, start_worker: StartWorker, tmp_path: Path
) -> None:
    first = {**scene.free(), "gate": str(tmp_path / "first")}
    id = await scene.post(first, scene.held())
    await scene.broker.store.change(update(_batches).values(crashes=1))
    await start_worker(worker_threads=4)
    await scene.began(1)
    other = await scene.post({**SOURCE, "ledger": str(tmp_path / "ledger of the other")}, type="hostile-async")
    (tmp_path / "first").touch()
    await scene.began(2)
    rows = await scene.broker.store.rows(select(_batches).order_by(_batches.c.id))
    assert [(row.status, row.suspect) for row in rows] == [("PROCESSING", 1), ("CREATED", None)]
    assert await scene.stored() == [0]
    scene.gate.touch()
    await scene.broker.done(id)
    await scene.broker.done(other)
    assert list(scene.noted().elements()) == ["0 started", "1 started"]


async def test_worker_that_is_never_idle_makes_room_for_a_batch_that_took_one_down(
    scene: Scene, start_worker: StartWorker
) -> None:
    """A stream of quick batches must not keep it waiting for ever."""
    await start_worker(worker_batches=2)
    busy = [await scene.post(scene.held()) for _ in range(2)]
    await scene.began(2)
    crashed = await scene.post(scene.free())
    later = await scene.post(scene.free())
    waits_long = update(_batches).where(_batches.c.id == crashed).values(crashes=1, due=1, rank=2**50)
    await scene.broker.store.change(waits_long)
    scene.gate.touch()
    for id in (*busy, crashed, later):
        await scene.broker.done(id)
    ends = await scene.broker.store.rows(select(_batches.c.id).order_by(_batches.c.finished, _batches.c.id))
    assert [row.id for row in ends][2:] == [crashed, later]


async def test_batch_claimed_unawares_comes_back_and_no_crash_is_counted(
    scene: Scene, start_worker: StartWorker
) -> None:
    """A claim was committed and its answer lost: the worker was told that it failed, and looks for what it brought."""
    worker = await start_worker("hostile", lease_seconds=6.0)
    await scene.post(scene.free(), type="hostile-async")
    claim = update(_batches).values(
        status="PROCESSING", lease_seq=1, lease_owner=worker.work.owner, lease_until=db_now() + 4000
    )
    assert await scene.broker.store.change(claim) == 1

    async def told() -> bool:
        return any(line["event"] == "queue.claim_failed" for line in logs)

    with capture_logs() as logs:
        async with scene.broker.store.locked():
            await until(told)

    async def back() -> bool:
        return bool((await scene.batch()).status == "CREATED")

    await until(back)
    batch = await scene.batch()
    assert (batch.crashes, batch.lease_owner, batch.lease_seq) == (0, None, 1)
