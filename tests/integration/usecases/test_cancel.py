"""Cancelling: at once, for good, and announced once, whatever a worker does meanwhile."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.batches import Counts, Outcome, Status, new_id
from broker.errors import Conflict, NotFound
from broker.store.leases import Beat, extend_leases
from tests.integration.receiver import Receiver
from tests.integration.running import StartBroker, StartWorker, in_base64, photograph, until
from tests.integration.usecases.scene import BATCHES, Scene, result, told

SLOW_TYPES = Path(__file__).parents[2] / "slow_types"
SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}


async def cancel(scene: Scene, id: str) -> object:
    return await scene.broker.web.cancel(id, scene.workspaces)


async def event_is_what_is_committed(scene: Scene, id: str) -> None:
    """One delivery of the last run, whose bytes say what the details say."""
    details = await scene.broker.details(id)
    row = await scene.row(id)
    (owed,) = [one for one in await scene.deliveries(id) if one.run == row.run]
    expected = {"status": "DONE", "id": id, "type": details["type"], "response": details["response"]}
    assert json.loads(owed.body) == expected


async def test_waiting_batch_is_cancelled_at_once(scene: Scene) -> None:
    id = await scene.accept(3)
    overview = await scene.broker.web.cancel(id, scene.workspaces)
    assert (overview.status, overview.outcome, overview.run) == (Status.DONE, Outcome.CANCELLED, 1)
    assert overview.counts == Counts(3, 3, 0, 3)
    assert overview == await scene.overview(id)
    records = (await scene.broker.details(id))["response"]["records"]
    assert [(one["_status"]["code"], one["_status"]["text"]) for one in records] == [(499, "cancelled")] * 3
    assert len({one["_status"]["request_id"] for one in records}) == 3
    await event_is_what_is_committed(scene, id)
    assert await scene.claim() == []
    assert (await scene.row(id)).lease_seq == 1


async def test_paused_batch_is_cancelled(scene: Scene) -> None:
    id = await scene.accept()
    await scene.broker.web.pause.pause(id, scene.workspaces)
    await cancel(scene, id)
    assert (await scene.row(id)).outcome == "cancelled"
    await event_is_what_is_committed(scene, id)


async def test_batch_without_a_webhook_owes_none(scene: Scene) -> None:
    id = await scene.accept(hook=None)
    await cancel(scene, id)
    assert await scene.deliveries(id) == []


async def test_checkpointed_records_stay_and_the_others_are_cancelled(scene: Scene) -> None:
    id = await scene.accept(4)
    (claimed,) = await scene.claim()
    kept = (result(2, _width=7), result(0, 404))
    assert await scene.checkpoint(claimed, *kept)
    overview = await scene.broker.web.cancel(id, scene.workspaces)
    assert overview.counts == Counts(4, 4, 1, 3)
    rows = await scene.results(id)
    assert [(row.code, row.lease_seq) for row in rows] == [(404, 1), (499, 2), (200, 1), (499, 2)]
    assert [rows[2].request_id, rows[0].request_id] == [one.request_id for one in kept]
    await event_is_what_is_committed(scene, id)


async def test_batch_whose_records_are_all_checkpointed_is_cancelled_all_the_same(scene: Scene) -> None:
    id = await scene.accept(2)
    (claimed,) = await scene.claim()
    assert await scene.checkpoint(claimed, result(0), result(1))
    overview = await scene.broker.web.cancel(id, scene.workspaces)
    assert (overview.outcome, overview.counts) == (Outcome.CANCELLED, Counts(2, 2, 2, 0))
    await event_is_what_is_committed(scene, id)


async def test_worker_of_a_cancelled_batch_learns_it_and_writes_nothing(scene: Scene) -> None:
    id = await scene.accept(2)
    (claimed,) = await scene.claim()
    await cancel(scene, id)
    before = await scene.everything()
    write = scene.broker.core.database.writer.write
    assert await write(extend_leases, Beat("worker", (claimed.lease,), 60_000)) == frozenset()
    assert not await scene.checkpoint(claimed, result(0))
    assert not await scene.finish(claimed)
    assert await scene.everything() == before


async def test_cancelling_twice_answers_the_same_and_announces_once(scene: Scene) -> None:
    id = await scene.accept()
    first = await cancel(scene, id)
    before = await scene.everything()
    assert await cancel(scene, id) == first
    assert await scene.everything() == before


@pytest.mark.parametrize("code", [200, 404, 499])
async def test_batch_that_ended_otherwise_is_not_cancelled(scene: Scene, code: int) -> None:
    id = await scene.done(code)
    before = await scene.everything()
    with pytest.raises(Conflict, match="done already"):
        await cancel(scene, id)
    assert await scene.everything() == before


async def test_batch_that_the_caller_may_not_see_is_not_found(scene: Scene) -> None:
    id = await scene.accept()
    other = await scene.broker.store.tenant("other")
    for name, workspaces in ((id, (other.workspace,)), (id, ()), (new_id(), scene.workspaces), ("x\0", (id,))):
        with pytest.raises(NotFound):
            await scene.broker.web.cancel(name, workspaces)
    assert (await scene.row(id)).status == "CREATED"


async def test_two_cancels_at_once_announce_once(scene: Scene, second: Scene) -> None:
    for id in [await scene.accept(2) for _ in range(5)]:
        first, other = await told(cancel(scene, id), cancel(second, id))
        assert first == other == await scene.overview(id)
        assert (await scene.row(id)).lease_seq == 1
        await event_is_what_is_committed(scene, id)


async def test_cancel_against_the_end_of_the_run_ends_the_batch_once(scene: Scene, second: Scene) -> None:
    """Whoever comes first decides; the other is told so."""
    for _ in range(12):
        id = await scene.accept(2)
        (claimed,) = await second.claim()
        finished, cancelled = await told(second.finish(claimed), cancel(scene, id))
        row = await scene.row(id)
        if finished:
            assert (row.outcome, row.lease_seq) == ("succeeded", 1)
            assert isinstance(cancelled, Conflict)
        else:
            assert (row.outcome, row.lease_seq) == ("cancelled", 2)
            assert cancelled == await scene.overview(id)
        await event_is_what_is_committed(scene, id)


async def test_cancel_against_a_checkpoint_announces_what_is_stored(scene: Scene, second: Scene) -> None:
    for _ in range(12):
        id = await scene.accept(2)
        (claimed,) = await second.claim()
        stored, _ = await told(second.checkpoint(claimed, result(0)), cancel(scene, id))
        assert [row.code for row in await scene.results(id)] == ([200, 499] if stored else [499, 499])
        await event_is_what_is_committed(scene, id)


async def test_answer_that_waits_for_the_end_is_told_of_the_cancel(start_broker: StartBroker, valkey_url: str) -> None:
    scene = Scene(await start_broker(redis_url=valkey_url))

    async def heard() -> bool:
        """The first one may come before the subscription."""
        id = await scene.accept()
        with scene.broker.core.bell.expecting(id) as done, suppress(TimeoutError):
            await cancel(scene, id)
            async with asyncio.timeout(0.5):
                await done.wait()
        return done.is_set()

    await until(heard)


@pytest.mark.parametrize("type", ["slow", "slow-isolated"])
async def test_running_handler_is_told_and_the_worker_goes_on(
    monkeypatch: pytest.MonkeyPatch,
    start_broker: StartBroker,
    start_worker: StartWorker,
    receiver: Receiver,
    tmp_path: Path,
    type: str,
) -> None:
    monkeypatch.syspath_prepend(str(SLOW_TYPES))
    scene = Scene(await start_broker())
    await start_worker("slow", "slow-isolated", lease_seconds=0.6)
    notes = tmp_path / "notes"
    hook = {"endpoint": receiver.url()}
    running = {"type": type, "records": [{**SOURCE, "act": "heed", "notes": str(notes)}], "webhook": hook}
    id = (await scene.broker.post(running))["id"]
    await until(lambda: noted(notes, 1))
    overview = await scene.broker.web.cancel(id, scene.workspaces)
    assert overview.outcome is Outcome.CANCELLED
    await until(lambda: noted(notes, 2))
    assert notes.read_text().splitlines()[1] == "cancelled"
    (post,) = await receiver.posted()
    assert post.json()["response"]["records"][0]["_status"]["code"] == 499
    (told,) = await scene.broker.run(type, {**SOURCE, "act": "tell"})
    assert told["_status"]["code"] == 200
    assert (await scene.row(id)).lease_seq == 2
    assert len(await scene.deliveries(id)) == 1


async def test_handler_that_says_cancelled_by_itself_does_not_cancel_its_batch(
    monkeypatch: pytest.MonkeyPatch, start_broker: StartBroker, start_worker: StartWorker
) -> None:
    monkeypatch.syspath_prepend(str(SLOW_TYPES))
    scene = Scene(await start_broker())
    await start_worker("slow")
    (record,) = await scene.broker.run("slow", {**SOURCE, "act": "give_up"})
    assert record["_status"]["code"] == 499
    (row,) = await scene.broker.store.rows(select(BATCHES))
    assert row.outcome == "failed"


async def noted(notes: Path, lines: int) -> bool:
    return notes.exists() and len(notes.read_text().splitlines()) >= lines
