"""Running a batch again: which records, which event, and what a late worker or sender of the older run may do."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import select, update

from broker.batches import Counts, Outcome, Overview, Status, new_id
from broker.deliveries import DueDelivery, State
from broker.errors import Conflict, Gone, NotFound
from broker.media.links import stored
from broker.queue.connection import connect, disconnect, queue_name
from broker.retry import Retried
from broker.store.leases import GiveBack, give_back_batches
from broker.store.tables import AttemptRow, table
from tests.integration.receiver import Receiver
from tests.integration.running import StartBroker, StartWorker, in_base64, photograph, until
from tests.integration.store.rows import attempt_result, claim_due, execute, record
from tests.integration.usecases.scene import RESULTS, Scene, fresh_batch, result, told

SLOW_TYPES = Path(__file__).parents[2] / "slow_types"
PICTURE = in_base64(photograph("chelsea-face.webp"))
ATTEMPTS = table(AttemptRow)
OUTPUT = stored("out/w/b/1/0/made.jpg")


async def retry(scene: Scene, id: str, *, all_records: bool = False) -> Overview:
    return await scene.broker.web.retry(id, scene.workspaces, all_records=all_records)


async def test_failed_records_run_again_and_the_good_ones_stay(scene: Scene) -> None:
    id = await scene.done(200, 404, 200, 500)
    kept = [row for row in await scene.results(id) if row.code == 200]
    overview = await retry(scene, id)
    assert (overview.status, overview.outcome, overview.run, overview.finished) == (Status.CREATED, None, 2, None)
    assert overview.counts == Counts(4, 2, 2, 0)
    assert await scene.results(id) == kept
    (claimed,) = await scene.claim()
    assert [one.index for one in claimed.results] == [0, 2]
    assert await scene.finish(claimed)
    rows = await scene.results(id)
    assert [(row.code, row.run, row.lease_seq) for row in rows] == [(200, 1, 1), (200, 2, 2), (200, 1, 1), (200, 2, 2)]
    assert (await scene.row(id)).outcome == "succeeded"


async def test_all_records_run_again_when_asked(scene: Scene) -> None:
    id = await scene.done(200, 404)
    overview = await retry(scene, id, all_records=True)
    assert overview.counts == Counts(2, 0, 0, 0)
    (claimed,) = await scene.claim()
    assert claimed.results == ()


async def test_every_run_has_its_own_event(scene: Scene) -> None:
    id = await scene.done(404)
    await retry(scene, id)
    await scene.finish_waiting(200)
    first, second = await scene.deliveries(id)
    assert (first.run, second.run) == (1, 2)
    assert first.id != second.id
    assert [json.loads(one.body)["response"]["records"][0]["_status"]["code"] for one in (first, second)] == [404, 200]


async def test_nothing_of_the_older_run_stays_in_the_row(scene: Scene) -> None:
    id = await scene.done(500)
    later = await fresh_batch(scene)
    old = {"crashes": 2, "doubts": 5, "suspect": 0, "combined": "{}", "outputs_expired": 5, "due": 2**52, "rank": 1}
    await scene.change(id, **old)
    await retry(scene, id)
    row = await scene.row(id)
    assert (row.crashes, row.suspect, row.combined, row.outputs_expired, row.finished) == (0, None, None, None, None)
    assert (row.lease_owner, row.lease_until, row.doubts) == (None, None, 0)
    assert row.modified >= row.created
    assert [one.id for one in await scene.claim()] == [later, id]


@pytest.mark.parametrize("outcome", ["succeeded", "cancelled"])
async def test_batch_of_which_nothing_failed_runs_again_only_as_a_whole(scene: Scene, outcome: str) -> None:
    id = await scene.accept(2)
    (claimed,) = await scene.claim()
    assert await scene.checkpoint(claimed, result(0), result(1))
    if outcome == "cancelled":
        await scene.broker.web.cancel(id, scene.workspaces)
    else:
        assert await scene.complete(claimed.batch, [result(0), result(1)], [])
    before = await scene.everything()
    with pytest.raises(Conflict, match="No record"):
        await retry(scene, id)
    assert await scene.everything() == before
    assert (await retry(scene, id, all_records=True)).run == 2


async def test_cancelled_batch_runs_its_cancelled_records_again(scene: Scene) -> None:
    id = await scene.accept(2)
    (claimed,) = await scene.claim()
    assert await scene.checkpoint(claimed, result(0))
    await scene.broker.web.cancel(id, scene.workspaces)
    assert (await retry(scene, id)).counts == Counts(2, 1, 1, 0)
    (again,) = await scene.claim()
    assert again.batch.lease_seq == 3
    assert await scene.finish(again)
    assert (await scene.row(id)).outcome == "succeeded"


@pytest.mark.parametrize("status", ["CREATED", "PROCESSING", "PAUSED"])
async def test_batch_that_is_not_done_is_not_retried(scene: Scene, status: str) -> None:
    id = await scene.not_done(status)
    before = await scene.everything()
    for all_records in (False, True):
        with pytest.raises(Conflict, match="not done"):
            await retry(scene, id, all_records=all_records)
    assert await scene.everything() == before


async def test_batch_that_the_caller_may_not_see_is_not_found(scene: Scene) -> None:
    id = await scene.done(404)
    other = await scene.broker.store.tenant("other")
    for name, workspaces in ((id, (other.workspace,)), (new_id(), scene.workspaces)):
        with pytest.raises(NotFound):
            await scene.broker.web.retry(name, workspaces)
    assert (await scene.row(id)).run == 1


async def test_picture_that_is_no_longer_kept_cannot_run_again(scene: Scene) -> None:
    records = [{"_url": "https://a.example.com/1.jpg"}, {"_base64": PICTURE}]
    kept, gone = [(await scene.broker.post({"type": "upscaler", "records": records}))["id"] for _ in range(2)]
    first, second = await scene.claim()
    assert await scene.finish(first, 500, 200)
    assert await scene.finish(second, 200, 500)
    for id in (kept, gone):
        await scene.change(id, inputs_expired=1)
    assert (await retry(scene, kept)).run == 2
    await scene.finish_waiting(500)
    before = await scene.everything()
    with pytest.raises(Gone, match="no longer kept"):
        await retry(scene, gone)
    with pytest.raises(Gone, match="no longer kept"):
        await retry(scene, kept, all_records=True)
    assert await scene.everything() == before


@pytest.mark.parametrize("facts", [{"_url": OUTPUT}, {"faces": [{"crop": OUTPUT}]}], ids=["flat", "nested"])
async def test_good_record_whose_picture_is_no_longer_kept_is_not_shown_again(
    scene: Scene, facts: dict[str, Any]
) -> None:
    """Its link would be dead in the new event. One that made no picture stays, and where all run again nothing does."""
    ids = []
    for good in (facts, {"note": "$output", "size": [1, 2]}):
        ids.append(await scene.accept(2))
        (claimed,) = await scene.claim(1)
        assert await scene.complete(claimed.batch, (), [result(0, **good), result(1, 500)])
        await scene.change(ids[-1], outputs_expired=1)
    pictured, plain = ids
    before = await scene.everything()
    with pytest.raises(Gone, match="ask for all records"):
        await retry(scene, pictured)
    assert await scene.everything() == before
    assert (await retry(scene, plain)).counts == Counts(2, 1, 1, 0)
    assert (await retry(scene, pictured, all_records=True)).counts == Counts(2, 0, 0, 0)


async def test_links_to_pictures_of_an_earlier_run_live_as_long_as_the_batch_keeps_them(scene: Scene) -> None:
    id = await scene.accept(2)
    (claimed,) = await scene.claim()
    assert await scene.complete(claimed.batch, (), [result(0, _url=OUTPUT), result(1, 500)])
    long_ago = update(RESULTS).values(finished=RESULTS.c.finished - 71 * 3_600_000)
    assert await scene.broker.store.change(long_ago) == 2
    began = (await retry(scene, id)).modified
    await scene.finish_waiting(200)
    _, owed = await scene.deliveries(id)
    for response in (json.loads(owed.body)["response"], (await scene.broker.details(id))["response"]):
        (expires,) = parse_qs(urlsplit(response["records"][0]["_url"]).query)["expires"]
        assert int(expires) >= began // 1000 + 72 * 3600


async def test_retry_is_not_refused_for_the_limit_of_open_batches(start_broker: StartBroker) -> None:
    """What was accepted once stays accepted, so that a retry in bulk does not stop half way."""
    scene = Scene(await start_broker(max_queued=1))
    ids = [await fresh_batch(scene) for _ in range(3)]
    await scene.finish_waiting(500)
    one, *others = ids
    assert (await retry(scene, one)).run == 2
    assert await scene.broker.web.retry.many(scene.broker.tenant.workspace, (Outcome.FAILED,), 0) == Retried(2, 0)
    body = {"type": "upscaler", "records": [{"_url": "https://a.example.com/1.jpg"}]}
    assert (await scene.broker.http.post("/account/v2/request", json=body)).status_code == 429
    assert [(await scene.row(id)).status for id in (one, *others)] == ["CREATED"] * 3


async def test_unsent_delivery_of_the_older_run_is_superseded(scene: Scene) -> None:
    id = await scene.done(500)
    await retry(scene, id)
    (owed,) = await scene.deliveries(id)
    assert (owed.state, owed.finished is not None) == ("superseded", True)
    assert await claim_due(scene.broker.core.database) == []


@pytest.mark.parametrize("state", [State.DELIVERED, State.EXHAUSTED, State.REFUSED, State.STOPPED])
async def test_delivery_that_has_ended_stays_as_it_is(scene: Scene, state: State) -> None:
    id = await scene.done(500)
    await settle(scene, (await claim_due(scene.broker.core.database))[0], state)
    before = await scene.deliveries(id)
    await retry(scene, id)
    assert await scene.deliveries(id) == before


@pytest.mark.parametrize("state", [State.DELIVERED, State.PENDING])
async def test_sender_under_way_does_not_revive_a_superseded_delivery(scene: Scene, state: State) -> None:
    id = await scene.done(500)
    (due,) = await claim_due(scene.broker.core.database)
    await retry(scene, id)
    assert not await settle(scene, due, state)
    (owed,) = await scene.deliveries(id)
    assert owed.state == "superseded"
    (attempt,) = await scene.broker.store.rows(select(ATTEMPTS))
    assert attempt.status_code == 200
    assert await claim_due(scene.broker.core.database) == []


async def test_a_delivery_that_is_held_back_is_superseded_for_good(scene: Scene) -> None:
    id = await scene.done(500)
    database = scene.broker.core.database
    assert await claim_due(database, room=0) == []
    await retry(scene, id)
    (owed,) = await scene.deliveries(id)
    assert (owed.state, owed.due, owed.held) == ("superseded", None, None)
    assert await claim_due(database) == []


@pytest.mark.parametrize("state", [State.DELIVERED, State.PENDING])
async def test_a_try_that_a_person_asked_for_does_not_revive_a_superseded_delivery(scene: Scene, state: State) -> None:
    id = await scene.done(500)
    database = scene.broker.core.database
    await execute(database, "UPDATE deliveries SET manual = true")
    (due,) = await claim_due(database)
    await retry(scene, id)
    (recorded,) = await record(database, attempt_result(due, state))
    assert not recorded.settled
    (owed,) = await scene.deliveries(id)
    assert (owed.state, owed.manual, owed.due) == ("superseded", False, None)
    assert await claim_due(database) == []


async def settle(scene: Scene, due: DueDelivery, state: State) -> bool:
    (recorded,) = await record(scene.broker.core.database, attempt_result(due, state))
    return recorded.settled


async def test_two_retries_at_once_start_one_run(scene: Scene, second: Scene) -> None:
    for _ in range(8):
        id = await scene.done(500)
        answers = await told(retry(scene, id), retry(second, id), retry(scene, id))
        assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "Conflict", "Overview"]
        assert (await scene.row(id)).run == 2
        await scene.claim()


async def test_late_worker_of_the_older_run_writes_nothing(scene: Scene) -> None:
    """As when the answer to its end was lost, so that it tries again."""
    id = await scene.accept(2)
    (old,) = await scene.claim()
    assert await scene.finish(old, 500, 500)
    await retry(scene, id)
    for waiting in (True, False):
        if not waiting:
            await scene.claim()
        before = await scene.everything()
        assert not await scene.checkpoint(old, result(0))
        assert not await scene.finish(old)
        assert not await scene.broker.core.database.writer.write(give_back_batches, GiveBack(old.lease))
        assert await scene.everything() == before


async def test_nudge_is_rung_after_the_commit(start_broker: StartBroker, valkey_url: str) -> None:
    """The workspace is paused, so that the sweep rings for nothing of it."""
    scene = Scene(await start_broker(redis_url=valkey_url))
    id = await scene.done(500)
    await scene.broker.web.pause.pause_workspace(scene.broker.tenant.workspace)
    redis = connect(valkey_url)
    await redis.flushall()
    async with scene.broker.store.locked():
        retrying = asyncio.create_task(retry(scene, id))
        for _ in range(20):
            await asyncio.sleep(0.02)
            assert not retrying.done()
            assert await redis.zcard(queue_name("upscaler")) == 0
    await retrying
    await until(lambda: redis.zscore(queue_name("upscaler"), f"nudge:{id}"))
    await disconnect(redis)


async def test_retried_batch_ends_with_a_webhook_of_its_own(
    monkeypatch: pytest.MonkeyPatch, start_broker: StartBroker, start_worker: StartWorker, receiver: Receiver
) -> None:
    monkeypatch.syspath_prepend(str(SLOW_TYPES))
    scene = Scene(await start_broker())
    await start_worker("slow")
    records = [{"_base64": PICTURE, "act": "refuse"}, {"_base64": PICTURE, "act": "tell"}]
    accepted = await scene.broker.post({"type": "slow", "records": records, "webhook": {"endpoint": receiver.url()}})
    await receiver.posted(1)
    await scene.broker.done(accepted["id"])
    await retry(scene, accepted["id"])
    first, second = await receiver.posted(2)
    assert first.headers["webhook-id"] != second.headers["webhook-id"]
    before, after = (post.json()["response"]["records"] for post in (first, second))
    assert before[1] == after[1]
    assert [one[0]["_status"]["code"] for one in (before, after)] == [422, 422]
    assert before[0]["_status"]["request_id"] != after[0]["_status"]["request_id"]
