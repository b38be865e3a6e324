"""Holding back: nothing paused is claimed, and what goes on has its old place."""

from __future__ import annotations

import pytest

from broker.batches import Status, new_id
from broker.errors import Conflict, NotFound
from broker.queue.connection import connect, disconnect, queue_name
from tests.integration.running import StartBroker, until
from tests.integration.usecases.scene import Scene, told


async def pause(scene: Scene, id: str) -> Status:
    return (await scene.broker.web.pause.pause(id, scene.workspaces)).status


async def resume(scene: Scene, id: str) -> Status:
    return (await scene.broker.web.pause.resume(id, scene.workspaces)).status


async def claimed(scene: Scene) -> list[str]:
    return [one.id for one in await scene.claim()]


async def test_paused_batch_is_not_claimed_until_it_goes_on_in_its_old_place(scene: Scene) -> None:
    held, later = await scene.accept(), await scene.accept()
    assert await pause(scene, held) is Status.PAUSED
    assert (await scene.overview(held)).status is Status.PAUSED
    await scene.change(held, due=2**52)
    assert await resume(scene, held) is Status.CREATED
    assert await claimed(scene) == [held, later]


async def test_others_are_claimed_while_one_is_paused(scene: Scene) -> None:
    held, other = await scene.accept(), await scene.accept()
    await pause(scene, held)
    assert await claimed(scene) == [other]
    assert await claimed(scene) == []


async def test_pausing_twice_answers_the_same(scene: Scene) -> None:
    id = await scene.accept()
    first = await scene.broker.web.pause.pause(id, scene.workspaces)
    before = await scene.everything()
    assert await scene.broker.web.pause.pause(id, scene.workspaces) == first
    assert await scene.everything() == before


@pytest.mark.parametrize("status", ["PROCESSING", "DONE"])
async def test_batch_that_does_not_wait_is_neither_paused_nor_resumed(scene: Scene, status: str) -> None:
    id = await scene.accept()
    await scene.claim()
    if status == "DONE":
        await scene.broker.web.cancel(id, scene.workspaces)
    before = await scene.everything()
    with pytest.raises(Conflict, match="waits"):
        await pause(scene, id)
    with pytest.raises(Conflict, match="not paused"):
        await resume(scene, id)
    assert await scene.everything() == before


async def test_waiting_batch_is_not_resumed(scene: Scene) -> None:
    id = await scene.accept()
    with pytest.raises(Conflict, match="not paused"):
        await resume(scene, id)


async def test_batch_that_the_caller_may_not_see_is_not_found(scene: Scene) -> None:
    id = await scene.accept()
    other = await scene.broker.store.tenant("other")
    for name, workspaces in ((id, (other.workspace,)), (new_id(), scene.workspaces)):
        for move in (scene.broker.web.pause.pause, scene.broker.web.pause.resume):
            with pytest.raises(NotFound):
                await move(name, workspaces)
    assert (await scene.row(id)).status == "CREATED"


async def test_pause_against_a_claim_ends_in_one_of_both(scene: Scene, second: Scene) -> None:
    for _ in range(10):
        id = await scene.accept()
        paused, claims = await told(pause(scene, id), second.claim())
        assert isinstance(paused, Conflict) == bool(claims)
        assert (await scene.row(id)).status == ("PROCESSING" if claims else "PAUSED")


async def test_resumed_batch_is_nudged(start_broker: StartBroker, valkey_url: str) -> None:
    scene = Scene(await start_broker(redis_url=valkey_url))
    id = await scene.accept()
    await pause(scene, id)
    redis = connect(valkey_url)
    await until(lambda: redis.zscore(queue_name("upscaler"), f"nudge:{id}"))
    await redis.flushall()
    await resume(scene, id)
    await until(lambda: redis.zscore(queue_name("upscaler"), f"nudge:{id}"))
    await disconnect(redis)


async def test_nothing_of_a_paused_workspace_is_claimed_but_it_accepts(scene: Scene) -> None:
    workspace = scene.broker.tenant.workspace
    before = await scene.accept()
    for _ in range(2):
        await scene.broker.web.pause.pause_workspace(workspace)
    after = await scene.accept()
    assert await claimed(scene) == []
    assert [(await scene.row(id)).status for id in (before, after)] == ["CREATED"] * 2
    await scene.broker.web.pause.resume_workspace(workspace)
    assert await claimed(scene) == [before, after]


async def test_other_workspaces_go_on(scene: Scene) -> None:
    other = await scene.broker.store.tenant("other")
    await scene.broker.web.pause.pause_workspace(other.workspace)
    id = await scene.accept()
    assert await claimed(scene) == [id]


async def test_unknown_workspace_is_not_found(scene: Scene) -> None:
    for move in (scene.broker.web.pause.pause_workspace, scene.broker.web.pause.resume_workspace):
        with pytest.raises(NotFound):
            await move(new_id())
