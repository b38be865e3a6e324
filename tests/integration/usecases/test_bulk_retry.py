"""Running again whatever ended badly since a time: all of it, once, and nothing else."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select, text, update

from broker.batches import Outcome, Refusal
from broker.queue.connection import connect, disconnect, queue_name
from broker.retry import CHUNK, NAMED, Retried
from broker.store.clock import read_clock
from tests.integration.running import StartBroker, until
from tests.integration.usecases.scene import BATCHES, Scene, fresh_batch, result

FAILED = (Outcome.FAILED,)
FAIL_AT_ONCE = {
    "sqlite": [
        "CREATE TRIGGER fail AFTER UPDATE ON batches WHEN OLD.status = 'DONE' AND NEW.status = 'CREATED' BEGIN "
        "UPDATE batches SET status = 'DONE', outcome = 'failed', finished = NEW.modified + 1 WHERE id = NEW.id; END"
    ],
    "postgresql": [
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.status := 'DONE'; "
        "NEW.outcome := 'failed'; NEW.finished := NEW.modified + 1; RETURN NEW; END $$",
        "CREATE TRIGGER fail BEFORE UPDATE ON batches FOR EACH ROW "
        "WHEN (OLD.status = 'DONE' AND NEW.status = 'CREATED') EXECUTE FUNCTION fail()",
    ],
}


async def ended(scene: Scene, count: int, code: int = 500) -> list[str]:
    ids = await asyncio.gather(*[fresh_batch(scene) for _ in range(count)])
    while claims := await scene.claim(200):
        await asyncio.gather(*[scene.complete(one.batch, (), [result(0, code)]) for one in claims])
    return ids


async def runs(scene: Scene) -> dict[str, int]:
    return {row.id: row.run for row in await scene.broker.store.rows(select(BATCHES.c.id, BATCHES.c.run))}


async def many(scene: Scene, *outcomes: Outcome, since: int = 0, all_records: bool = False) -> Retried:
    workspace = scene.broker.tenant.workspace
    return await scene.broker.web.retry.many(workspace, outcomes or FAILED, since, all_records=all_records)


async def test_only_batches_with_the_outcome_run_again(scene: Scene) -> None:
    failed = await ended(scene, 3)
    good = await ended(scene, 2, 200)
    partial = await scene.done(200, 404)
    assert await many(scene) == Retried(3, 0)
    assert await runs(scene) == dict.fromkeys(failed, 2) | dict.fromkeys([*good, partial], 1)
    assert await many(scene, Outcome.PARTIAL, Outcome.FAILED) == Retried(1, 0)
    assert (await scene.row(partial)).run == 2


async def test_only_batches_that_ended_since_then_run_again(scene: Scene) -> None:
    old, edge, new = await ended(scene, 3)
    now = (await scene.row(new)).finished
    for id, finished in ((old, now - 10_001), (edge, now - 10_000)):
        await scene.change(id, finished=finished)
    assert await many(scene, since=now - 10_000) == Retried(2, 0)
    assert await runs(scene) == {old: 1, edge: 2, new: 2}


async def test_batches_of_another_workspace_stay(scene: Scene) -> None:
    (id,) = await ended(scene, 1)
    other = await scene.broker.store.tenant("other")
    assert await scene.broker.web.retry.many(other.workspace, FAILED, 0) == Retried(0, 0)
    assert (await scene.row(id)).run == 1


@pytest.mark.parametrize("same_moment", [False, True])
async def test_more_batches_than_a_chunk_run_again_each_once(scene: Scene, same_moment: bool) -> None:
    ids = await ended(scene, 2 * CHUNK + 5)
    if same_moment:
        await scene.broker.store.change(update(BATCHES).values(finished=77))
    assert await many(scene) == Retried(len(ids), 0)
    assert await runs(scene) == dict.fromkeys(ids, 2)


async def test_batches_not_meant_do_not_hide_those_behind_them(scene: Scene) -> None:
    await ended(scene, 2 * CHUNK, 200)
    (failed,) = await ended(scene, 1)
    assert await many(scene) == Retried(1, 0)
    assert (await scene.row(failed)).run == 2


async def test_refused_batches_are_counted_and_do_not_stop_it(scene: Scene) -> None:
    """A full chunk of batches that cannot run again, and one behind them that can."""
    good = await ended(scene, CHUNK + 1, 200)
    failed = await scene.done(500)
    rows = await scene.broker.store.rows(select(BATCHES.c.id).order_by(BATCHES.c.finished, BATCHES.c.id))
    in_order = [row.id for row in rows]
    assert await many(scene, Outcome.SUCCEEDED, Outcome.FAILED) == Retried(
        1, len(good), tuple((id, Refusal.NOTHING_FAILED) for id in in_order[:NAMED])
    )
    assert (await scene.row(failed)).run == 2
    assert await many(scene, Outcome.SUCCEEDED, all_records=True) == Retried(len(good), 0)


async def test_batches_that_fail_again_meanwhile_do_not_run_for_ever(scene: Scene) -> None:
    """As with workers that are quicker than the retry: the database itself fails each batch as soon as it waits."""
    ids = await ended(scene, CHUNK + 20)
    for statement in FAIL_AT_ONCE[scene.broker.core.database.engine.dialect.name]:
        await scene.broker.store.change(text(statement))
    async with asyncio.timeout(60):
        assert await many(scene) == Retried(len(ids), 0)
    assert await runs(scene) == dict.fromkeys(ids, 2)


async def test_every_batch_is_rung_for(start_broker: StartBroker, valkey_url: str) -> None:
    """The workspace is paused, so that the sweep rings for none of them."""
    scene = Scene(await start_broker(redis_url=valkey_url))
    ids = await ended(scene, CHUNK + 3)
    await scene.broker.web.pause.pause_workspace(scene.broker.tenant.workspace)
    redis = connect(valkey_url)
    await redis.flushall()
    assert await many(scene) == Retried(len(ids), 0)

    async def all_rung() -> bool:
        return set(await redis.zrange(queue_name("upscaler"), 0, -1)) == {f"nudge:{id}".encode() for id in ids}

    await until(all_rung)
    await disconnect(redis)


async def test_children_and_parents_are_left_alone(scene: Scene) -> None:
    parent = await scene.parent(2)
    await scene.finish_waiting(500)
    rows = await scene.broker.store.rows(select(func.count()).where(BATCHES.c.status == "DONE"))
    assert rows[0][0] == 3
    assert await many(scene) == Retried(0, 1, ((parent, Refusal.RELATED),))
    assert (await scene.row(parent)).run == 1


async def test_the_clock_is_the_databases(scene: Scene) -> None:
    (id,) = await ended(scene, 1)
    async with scene.broker.core.database.reading() as connection:
        assert (await scene.row(id)).finished <= await connection.run_sync(read_clock)
