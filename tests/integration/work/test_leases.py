"""A batch on its way: checkpoints, lost leases, rescue, and a worker that stops."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text, update
from structlog.testing import capture_logs

from broker.store.claims import ClaimOrder, claim_batches
from broker.store.clock import db_now
from broker.store.crashes import GIVEN_UP_CODE
from broker.store.tables import DeliveryRow, table
from broker.store.writer import PATIENCE
from broker.work.sweep import SECONDS
from tests.integration.receiver import Receiver
from tests.integration.running import Broker, StartBroker, StartWorker, Worker, until
from tests.integration.work.scene import BATCHES, RESULTS, SOURCE, Scene

QUEUE, NUDGE = "broker:queue:hostile", "nudge:any"
LONGEST_GAP = 2 * SECONDS
"""What a sweep that looks after this time, in seconds, sees has not been watched; for leases of up to 6 s."""
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


@pytest.fixture
async def broker(hostile: Path, start_broker: StartBroker) -> Broker:
    return await start_broker()


@pytest.fixture
def scene(broker: Broker, tmp_path: Path) -> Scene:
    return Scene(broker, tmp_path)


async def look_twice(worker: Worker) -> None:
    """Until the worker has looked for batches since now. It takes the nudges of its queue before each look, and
    whoever takes the second has made up its mind after the first.
    """
    redis = worker.batches.ctx["redis"]

    async def taken() -> bool:
        return await redis.zscore(QUEUE, NUDGE) is None

    for _ in range(2):
        await redis.zadd(QUEUE, {NUDGE: 0})
        await until(taken)


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
    await start_worker(worker_threads=3, lease_seconds=3)
    hook = {"endpoint": receiver.url()}
    id = await scene.post(scene.free(), scene.free(), scene.held(), webhook=hook, type="hostile-async")
    await scene.began(3)

    async def both() -> bool:
        return await scene.stored() == [0, 1]

    await until(both, 10)
    kept = await scene.broker.store.rows(select(RESULTS).order_by(RESULTS.c.position))
    await scene.lose_lease()
    await scene.began(4)
    batch = await scene.batch()
    assert (batch.status, batch.lease_seq, batch.crashes) == ("PROCESSING", 2, 1)
    scene.gate.touch()
    records = (await scene.broker.done(id))["response"]["records"]
    assert [record["_status"]["code"] for record in records] == [200] * 3
    assert scene.noted()["0 started"] == scene.noted()["1 started"] == 1
    assert scene.noted()["2 started"] == 2
    rows = await scene.broker.store.rows(select(RESULTS).order_by(RESULTS.c.position))
    assert rows[:2] == kept
    assert (rows[2].lease_seq, [record["_status"]["request_id"] for record in records]) == (
        2,
        [row.request_id for row in rows],
    )
    await receiver.posted()
    assert len(await scene.broker.store.rows(select(table(DeliveryRow)))) == 1


async def test_lost_lease_ends_the_run_and_writes_nothing(
    scene: Scene, start_worker: StartWorker, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    """The next beat tells, long before the worker would let go by itself."""
    await start_worker(lease_seconds=6, worker_threads=2)
    id = await scene.post(scene.held(), type="hostile-async", webhook={"endpoint": receiver.url()})
    await scene.began(1)
    await scene.hand_lease_over()
    await scene.cancelled()
    before = await scene.batch()
    scene.gate.touch()
    await scene.broker.run("hostile-async", scene.free(), endpoint="gate")
    assert await scene.batch(id) == before
    assert (before.status, before.lease_owner, before.lease_seq) == ("PROCESSING", "another", 2)
    assert await scene.broker.store.rows(select(RESULTS).where(RESULTS.c.batch_id == id)) == []
    assert receiver.posts == []
    assert await scene.broker.store.rows(select(table(DeliveryRow))) == []
    logged = capfd.readouterr().out
    assert ('"lease.lost"' in logged, '"lease.let_go"' in logged) == (True, False)


async def test_late_end_of_a_lost_run_changes_nothing(
    scene: Scene, start_worker: StartWorker, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    """The worker has not noticed yet that its lease went to another, who is done already."""
    worker = await start_worker()
    id = await scene.post(scene.held(), scene.held(), webhook={"endpoint": receiver.url()})
    await scene.began(2)
    other = update(BATCHES).values(status="DONE", outcome="failed", lease_seq=7, lease_owner=None, lease_until=None)
    await scene.broker.store.change(other)
    for place in (0, 1):
        row = {"batch_id": id, "position": place, "run": 1, "lease_seq": 7, "code": 500, "text": "theirs"}
        await scene.broker.store.change(insert(RESULTS).values(**row, request_id=id, facts="{}", finished=1))
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
    await start_worker(lease_seconds=2)
    id = await scene.post(scene.held())
    await scene.began(1)
    first = (await scene.batch()).lease_until

    async def a_lease_later() -> bool:
        batch = await scene.batch()
        assert (batch.status, batch.lease_seq) == ("PROCESSING", 1)
        return bool(batch.lease_until > first + 2000)

    await until(a_lease_later)
    scene.gate.touch()
    await scene.broker.done(id)
    assert scene.noted()["0 started"] == 1


async def test_batch_of_a_dead_worker_is_swept_up_and_done(scene: Scene, start_worker: StartWorker) -> None:
    id = await scene.post(scene.free())
    order = ClaimOrder("a worker that dies", ("hostile",), 1, 300)
    (claim,) = (await scene.broker.core.database.writer.write(claim_batches, order)).claims
    assert claim.id == id
    await start_worker(lease_seconds=2)
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
    rows = await scene.broker.store.rows(select(BATCHES.c.id, BATCHES.c.status))
    assert {row.id: row.status for row in rows} == {running: "DONE", later: "CREATED"}


async def test_batch_that_waits_too_long_is_nudged_again(
    scene: Scene, start_broker: StartBroker, start_worker: StartWorker, valkey_url: str
) -> None:
    """Accepted while Redis was not told; the sweep rings for it."""
    id = await scene.post(scene.free())
    worker = await start_worker("upscaler", redis_url=valkey_url)
    await scene.broker.store.change(update(BATCHES).values(due=BATCHES.c.due - 10_000))
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
    rows = await scene.broker.store.rows(select(BATCHES.c.status).where(BATCHES.c.id == left))
    assert rows[0].status == "CREATED"


async def test_worker_that_cannot_extend_a_lease_lets_go_and_no_crash_is_counted(
    scene: Scene, start_worker: StartWorker, capfd: pytest.CaptureFixture[str]
) -> None:
    """It ends the run before others may take the batch, and gives it back once the database is there again."""
    await start_worker(lease_seconds=2)
    id = await scene.post(scene.held(), type="hostile-async")
    await scene.began(1)
    async with scene.broker.store.locked():
        void = asyncio.create_task(asyncio.sleep(LONGEST_GAP))
        await scene.cancelled(seconds=PATIENCE)
        assert (await scene.batch()).lease_seq == 1
        scene.gate.touch()
        await void  # by now a look of the sweep that waits for the database can count nothing as a crash
    await scene.broker.done(id)
    batch = await scene.batch()
    assert (batch.lease_seq, batch.crashes, batch.outcome) == (2, 0, "succeeded")
    logged = capfd.readouterr().out
    assert ('"lease.let_go"' in logged, '"lease.lost"' in logged) == (True, False)


async def test_result_that_the_database_refuses_costs_only_its_own_record(
    scene: Scene, start_worker: StartWorker
) -> None:
    """Nobody foresaw it, so it is like a crash: the batch is run with care until the guilty record is known."""
    store = scene.broker.store
    for statement in REFUSE_POISON[store.core.database.engine.dialect.name]:
        await store.change(text(statement))
    await start_worker()
    records = [SOURCE, {**SOURCE, "word": "poison"}, SOURCE]
    id = (await scene.broker.post({"type": "hostile", "endpoint": "echo", "records": records}))["id"]

    async def done() -> bool:
        await store.change(update(BATCHES).where(BATCHES.c.status == "CREATED").values(due=0))  # it rests in vain
        return bool((await scene.batch()).status == "DONE")

    await until(done)
    results = (await scene.broker.details(id))["response"]["records"]
    assert [result["_status"]["code"] for result in results] == [200, GIVEN_UP_CODE, 200]
    batch = await scene.batch()
    assert (batch.outcome, batch.run) == ("partial", 1)


async def test_batch_that_took_a_worker_down_runs_alone_and_record_by_record(
    scene: Scene, start_worker: StartWorker, tmp_path: Path, valkey_url: str
) -> None:
    first = tmp_path / "first"
    crashed = await scene.post(scene.held(first), scene.held())
    await scene.broker.store.change(update(BATCHES).values(crashes=1))
    other = await scene.post(scene.free())
    worker = await start_worker("hostile", worker_threads=4, redis_url=valkey_url)
    for place, gate in enumerate((first, scene.gate)):
        await scene.began(place + 1)
        await look_twice(worker)
        rows = await scene.broker.store.rows(select(BATCHES.c.id, BATCHES.c.status, BATCHES.c.suspect))
        assert set(rows) == {(crashed, "PROCESSING", place), (other, "CREATED", None)}
        assert scene.noted().total() == place + 1
        assert await scene.stored() == list(range(place))
        gate.touch()
    await scene.broker.done(crashed)
    await scene.broker.done(other)
    assert scene.noted() == {"0 started": 2, "1 started": 1}


async def test_worker_that_is_never_idle_makes_room_for_a_batch_that_took_one_down(
    scene: Scene, start_worker: StartWorker, tmp_path: Path, valkey_url: str
) -> None:
    """A stream of quick batches must not keep it waiting for ever."""
    worker = await start_worker("hostile", worker_batches=2, redis_url=valkey_url)
    quick = tmp_path / "quick"
    busy = [await scene.post(scene.held(quick)), await scene.post(scene.held())]
    await scene.began(2)
    crashed = await scene.post(scene.free())
    later = await scene.post(scene.free())
    waits_long = update(BATCHES).where(BATCHES.c.id == crashed).values(crashes=1, due=1, rank=2**50)
    await scene.broker.store.change(waits_long)
    quick.touch()
    await scene.broker.done(busy[0])
    await look_twice(worker)
    rows = await scene.broker.store.rows(select(BATCHES.c.status).where(BATCHES.c.id.in_([crashed, later])))
    assert [row.status for row in rows] == ["CREATED"] * 2
    scene.gate.touch()
    for id in (busy[1], crashed, later):
        await scene.broker.done(id)
    ends = await scene.broker.store.rows(select(BATCHES.c.id).order_by(BATCHES.c.finished, BATCHES.c.id))
    assert [row.id for row in ends] == [*busy, crashed, later]


async def test_batch_claimed_unawares_comes_back_and_no_crash_is_counted(
    scene: Scene, start_worker: StartWorker
) -> None:
    """A claim was committed and its answer lost: the worker was told that it failed, and looks for what it brought."""
    worker = await start_worker("hostile", lease_seconds=6.0)
    await scene.post(scene.free(), type="hostile-async")
    claim = update(BATCHES).values(
        status="PROCESSING", lease_seq=1, lease_owner=worker.work.owner, lease_until=db_now() + 4000
    )
    assert await scene.broker.store.change(claim) == 1

    async def told() -> bool:
        return any(line["event"] == "queue.claim_failed" for line in logs)

    with capture_logs() as logs:
        async with scene.refusing(worker.work.core.database.writer):
            await until(told)

    batch = await scene.waiting()
    assert (batch.crashes, batch.lease_owner, batch.lease_seq) == (0, None, 1)
