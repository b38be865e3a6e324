"""Deleting: all rows at once, then all pictures, and nothing of anybody else."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from broker.batches import Record, new_id
from broker.deliveries import State
from broker.errors import Conflict, NotFound
from broker.media.blobs import input_key, output_key
from broker.store.rows import dump_records
from broker.work.orphans import Orphans
from tests.integration.running import in_base64, photograph
from tests.integration.store.ended import HOUR, id_from, refusing
from tests.integration.store.rows import accept, attempt_result, claim_due, record
from tests.integration.usecases.scene import BATCHES, Scene, told

PICTURE = in_base64(photograph("chelsea-face.webp"))


async def delete(scene: Scene, id: str) -> None:
    await scene.broker.web.delete(id, scene.workspaces)


async def with_pictures(scene: Scene) -> str:
    """A batch that is DONE, with a picture sent along and one made."""
    records = [{"_base64": PICTURE}]
    body = {"type": "upscaler", "records": records, "webhook": {"endpoint": "https://hooks.example.com/"}}
    id: str = (await scene.broker.post(body))["id"]
    await scene.finish_waiting(500)
    await scene.broker.core.blobs.put(output_key(scene.broker.tenant.workspace, id, 1, 0, "a.png"), b"made")
    return id


async def test_rows_and_pictures_go_and_those_of_others_stay(scene: Scene) -> None:
    kept = await with_pictures(scene)
    before, blobs = await scene.everything(), scene.broker.blobs
    id = await with_pictures(scene)
    await scene.broker.web.retry(id, scene.workspaces)
    await scene.finish_waiting(500)
    await claim_due(scene.broker.core.database)
    assert len(await scene.deliveries(id)) == 2
    await delete(scene, id)
    after = await scene.everything()
    assert [after[name] for name in ("batches", "results")] == [before[name] for name in ("batches", "results")]
    assert {str(row.batch_id) for row in await scene.deliveries(kept)} == {kept}
    assert (len(after["deliveries"]), len(after["attempts"])) == (1, 1)
    assert scene.broker.blobs == blobs
    with pytest.raises(NotFound):
        await scene.overview(id)
    answer = await scene.broker.http.get(f"/account/v2/request/{id}")
    assert answer.status_code == 404


@pytest.mark.parametrize("status", ["CREATED", "PROCESSING", "PAUSED"])
async def test_batch_that_is_not_done_is_not_deleted(scene: Scene, status: str) -> None:
    id = await scene.not_done(status)
    before = await scene.everything()
    with pytest.raises(Conflict, match="not done"):
        await delete(scene, id)
    assert await scene.everything() == before


async def test_deleted_batch_is_not_found_any_more(scene: Scene) -> None:
    id = await scene.done(200)
    await delete(scene, id)
    with pytest.raises(NotFound):
        await delete(scene, id)


async def test_batch_that_the_caller_may_not_see_is_not_found(scene: Scene) -> None:
    id = await scene.done(200)
    other = await scene.broker.store.tenant("other")
    for name, workspaces in ((id, (other.workspace,)), (new_id(), scene.workspaces)):
        with pytest.raises(NotFound):
            await scene.broker.web.delete(name, workspaces)
    assert (await scene.row(id)).status == "DONE"


async def test_two_deletes_at_once_delete_once(scene: Scene, second: Scene) -> None:
    for _ in range(5):
        id = await scene.done(200)
        answers = await told(delete(scene, id), delete(second, id))
        assert sorted(type(answer).__name__ for answer in answers) == ["NoneType", "NotFound"]


async def test_delete_against_a_retry_does_one_of_both(scene: Scene, second: Scene) -> None:
    for _ in range(8):
        id = await scene.done(500)
        deleted, retried = await told(delete(scene, id), second.broker.web.retry(id, scene.workspaces))
        if deleted is None:
            assert isinstance(retried, NotFound)
            assert await scene.broker.store.rows(select(BATCHES).where(BATCHES.c.id == id)) == []
        else:
            assert isinstance(deleted, Conflict)
            assert (await scene.row(id)).status == "CREATED"
            await scene.claim()


async def test_try_under_way_finds_its_delivery_gone(scene: Scene) -> None:
    id = await scene.done(500)
    (due,) = await claim_due(scene.broker.core.database)
    await delete(scene, id)
    (recorded,) = await record(scene.broker.core.database, attempt_result(due))
    assert not recorded.settled
    assert (await scene.everything())["deliveries"] == (await scene.everything())["attempts"] == []


async def test_delete_against_senders_raises_nothing(scene: Scene, second: Scene) -> None:
    """Senders claim, which adds attempts, and settle while the deliveries are removed."""
    ids = [await scene.done(500) for _ in range(30)]

    async def send() -> None:
        database = second.broker.core.database
        for _ in range(15):
            for due in await claim_due(database, 4, lease_ms=-1):
                await record(database, attempt_result(due, State.PENDING, status_code=500))

    sending = asyncio.create_task(send())
    for id in ids:
        await delete(scene, id)
    await sending
    assert not any((await scene.everything()).values())


async def test_rows_that_cannot_be_removed_keep_their_pictures(scene: Scene) -> None:
    id = await with_pictures(scene)
    before, blobs = await scene.everything(), scene.broker.blobs
    async with refusing(scene.broker.core.database, "DELETE"):
        with pytest.raises(IntegrityError):
            await delete(scene, id)
    assert (await scene.everything(), scene.broker.blobs) == (before, blobs)


async def test_pictures_that_cannot_be_removed_now_do_not_keep_the_rows(scene: Scene) -> None:
    """As when the disk of the blobs is away; the search for orphans finds them later."""
    database, blobs, workspace = scene.broker.core.database, scene.broker.core.blobs, scene.broker.tenant.workspace
    id = id_from(2 * HOUR)
    sent, made = input_key(workspace, id, 0), output_key(workspace, id, 1, 0, "a.png")
    for key in (sent, made):
        await blobs.put(key, b"picture")
    await accept(database, workspace, id=id, records=dump_records((Record("1", blob=sent),)))
    await scene.finish_waiting(500)
    folder = blobs.folder
    assert folder is not None
    away = folder.with_name("away")
    folder.rename(away)
    folder.write_text("no folder")
    await delete(scene, id)
    assert not any((await scene.everything()).values())
    folder.unlink()
    away.rename(folder)
    assert scene.broker.blobs == [sent, made]
    assert await Orphans(database, blobs).search() == 1
    assert scene.broker.blobs == []
