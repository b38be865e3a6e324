"""Parents and their children: counted down with each end, complete with the last, cancelled, paused, deleted as one."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import insert

from broker.batches import Counts, Outcome, Status, new_id
from broker.errors import Conflict, NotFound
from tests.integration.usecases.scene import RESULTS, Scene, fresh_batch, result, told

CODES = {"succeeded": (200, 200), "partial": (200, 404), "failed": (404, 500)}


async def first(scene: Scene) -> str:
    """The batch that a free worker would take now."""
    (claimed,) = await scene.claim(1)
    assert await scene.finish(claimed)
    return claimed.id


async def test_children_are_stored_with_the_cursor_and_counted(scene: Scene) -> None:
    id = await scene.accept()
    (parent,) = await scene.claim()
    assert await scene.expand(parent, 3, cursor="page 2")
    row = await scene.row(id)
    assert (row.status, row.pending, row.cursor, row.lease_owner) == ("PROCESSING", 3, "page 2", "worker")
    assert await scene.expand(parent, 2, first=3)
    row = await scene.row(id)
    assert (row.status, row.pending, row.cursor, row.lease_owner, row.lease_until) == (
        "PROCESSING",
        5,
        None,
        None,
        None,
    )
    assert [child.ordinal for child in await scene.children(id)] == [0, 1, 2, 3, 4]


async def test_listing_that_is_repeated_stores_each_child_once(scene: Scene) -> None:
    """As after a crash between two pages, or when the answer to a commit was lost."""
    id = await scene.accept()
    (parent,) = await scene.claim()
    assert await scene.expand(parent, 3, cursor="page 2")
    before = await scene.children(id)
    assert await scene.expand(parent, 5, cursor="page 3")
    assert (await scene.children(id))[:3] == before
    assert ((await scene.row(id)).pending, len(await scene.children(id))) == (5, 5)


async def test_lister_that_lost_its_lease_stores_nothing(scene: Scene) -> None:
    id = await scene.accept()
    (parent,) = await scene.claim()
    await scene.broker.web.cancel(id, scene.workspaces)
    before = await scene.everything()
    assert not await scene.expand(parent, 3)
    assert await scene.everything() == before


async def test_children_of_the_earlier_parent_come_first_and_all_after_fresh_batches(scene: Scene) -> None:
    early, late = await scene.parent(2), await scene.parent(2)
    fresh = await fresh_batch(scene)
    order = [claimed.id for claimed in await scene.claim()]
    assert order == [fresh, *[child.id for parent in (early, late) for child in await scene.children(parent)]]


async def test_folder_of_500_children_delays_a_fresh_batch_by_at_most_the_running_one(scene: Scene) -> None:
    parent = await scene.parent(500)
    children = {child.id for child in await scene.children(parent)}
    (running,) = await scene.claim(1)
    assert running.id in children
    again = await scene.done(500)
    fresh = await fresh_batch(scene)
    await scene.broker.web.retry(again, scene.workspaces)
    assert await scene.finish(running)
    assert [await first(scene), await first(scene)] == [fresh, again]
    assert await first(scene) in children


@pytest.mark.parametrize("outcome", CODES)
async def test_last_child_completes_the_parent_with_one_event(scene: Scene, outcome: str) -> None:
    parent = await scene.parent(2)
    for code in CODES[outcome]:
        assert (await scene.row(parent)).status == "PROCESSING"
        (claimed,) = await scene.claim(1)
        assert await scene.finish(claimed, code)
    row = await scene.row(parent)
    assert (row.status, row.outcome, row.pending, row.finished is not None) == ("DONE", outcome, 0, True)
    (owed,) = await scene.deliveries(parent)
    records = json.loads(owed.body)["response"]["records"]
    assert [record["_status"]["code"] for record in records] == list(CODES[outcome])
    assert [await scene.deliveries(child.id) for child in await scene.children(parent)] == [[], []]
    good = CODES[outcome].count(200)
    assert (await scene.overview(parent)).counts == Counts(2, 2, good, 2 - good)


async def test_event_of_a_parent_has_the_records_of_all_children_in_their_order(scene: Scene) -> None:
    parent = await scene.parent(3, records=2)
    for place, claimed in reversed(list(enumerate(await scene.claim()))):
        assert await scene.complete(claimed.batch, (), [result(0, child=place), result(1, child=place)])
    (owed,) = await scene.deliveries(parent)
    assert [record["child"] for record in json.loads(owed.body)["response"]["records"]] == [0, 0, 1, 1, 2, 2]


async def test_parent_is_not_complete_while_its_listing_goes_on(scene: Scene) -> None:
    id = await scene.accept()
    await scene.change(id, records="[]", size=0)
    (parent,) = await scene.claim()
    assert await scene.expand(parent, 1, cursor="page 2")
    await scene.finish_waiting()
    assert ((await scene.row(id)).status, (await scene.row(id)).pending) == ("PROCESSING", 0)
    await scene.complete.finish_parents()
    assert (await scene.row(id)).status == "PROCESSING"
    assert await scene.expand(parent, 1, first=1)
    await scene.finish_waiting()
    assert (await scene.row(id)).outcome == "succeeded"


async def test_children_that_end_at_once_in_two_processes_complete_the_parent_once(scene: Scene, second: Scene) -> None:
    for _ in range(4):
        parent = await scene.parent(10)
        claims = await scene.claim()
        ends = [(scene, second)[place % 2].finish(claimed) for place, claimed in enumerate(claims)]
        assert await told(*ends) == [True] * 10
        row = await scene.row(parent)
        assert (row.status, row.pending, len(await scene.deliveries(parent))) == ("DONE", 0, 1)


async def test_parent_that_was_left_behind_is_completed_by_the_caretaker(scene: Scene) -> None:
    """As when the process died between the last child's end and the parent's."""
    parent, open_one = await scene.parent(2), await scene.parent(1)
    for child in await scene.children(parent):
        await scene.change(child.id, status="DONE", outcome="succeeded", finished=1)
        row = {"batch_id": child.id, "position": 0, "run": 1, "lease_seq": 1, "code": 200, "text": "OK"}
        await scene.broker.store.change(insert(RESULTS).values(**row, request_id=new_id(), facts="{}", finished=1))
    await scene.change(parent, pending=0)
    await scene.complete.finish_parents()
    assert ((await scene.row(parent)).outcome, len(await scene.deliveries(parent))) == ("succeeded", 1)
    assert (await scene.row(open_one)).status == "PROCESSING"
    before = await scene.everything()
    await scene.complete.finish_parents()
    assert await scene.everything() == before


async def test_parent_whose_end_cannot_be_made_leaves_its_last_child_done(scene: Scene) -> None:
    parent = await scene.parent(1)
    await scene.change(parent, webhook=b"no box")
    (child,) = await scene.claim()
    assert await scene.finish(child)
    assert ((await scene.row(child.id)).status, (await scene.row(parent)).status) == ("DONE", "PROCESSING")


async def test_folder_without_images_is_completed_too(scene: Scene) -> None:
    parent = await scene.parent(0)
    await scene.complete.finish_parents()
    assert (await scene.row(parent)).outcome == "succeeded"


async def test_cancelled_parent_cancels_its_open_children_without_webhooks(scene: Scene) -> None:
    parent = await scene.parent(3)
    done, running = await scene.claim(2)
    assert await scene.finish(done)
    overview = await scene.broker.web.cancel(parent, scene.workspaces)
    assert (overview.outcome, overview.counts) == (Outcome.CANCELLED, Counts(3, 3, 1, 2))
    children = await scene.children(parent)
    assert [child.outcome for child in children] == ["succeeded", "cancelled", "cancelled"]
    assert [child.lease_seq for child in children] == [1, 2, 1]
    assert (await scene.row(parent)).pending == 0
    assert not await scene.finish(running)
    assert [len(await scene.deliveries(one)) for one in (parent, *[child.id for child in children])] == [1, 0, 0, 0]
    (owed,) = await scene.deliveries(parent)
    records = json.loads(owed.body)["response"]["records"]
    assert [record["_status"]["code"] for record in records] == [200, 499, 499]


async def test_parent_whose_listing_goes_on_is_cancelled_with_what_it_has(scene: Scene) -> None:
    id = await scene.accept()
    await scene.change(id, records="[]", size=0)
    (parent,) = await scene.claim()
    assert await scene.expand(parent, 2, cursor="page 2")
    await scene.broker.web.cancel(id, scene.workspaces)
    assert [child.outcome for child in await scene.children(id)] == ["cancelled"] * 2
    assert not await scene.expand(parent, 2, first=2)
    assert len(await scene.deliveries(id)) == 1


async def test_cancelled_child_counts_as_ended(scene: Scene) -> None:
    parent = await scene.parent(2)
    one, other = await scene.children(parent)
    await scene.broker.web.cancel(one.id, scene.workspaces)
    assert (await scene.row(parent)).pending == 1
    await scene.broker.web.cancel(other.id, scene.workspaces)
    row = await scene.row(parent)
    assert (row.status, row.outcome, len(await scene.deliveries(parent))) == ("DONE", "failed", 1)


async def test_cancel_of_a_parent_against_the_ends_of_its_children(scene: Scene, second: Scene) -> None:
    """All lock parent first: nobody deadlocks, and each batch ends once."""
    for _ in range(5):
        parent = await scene.parent(10)
        claims = await second.claim()
        ends = [second.finish(claimed) for claimed in claims]
        answers = await told(*ends[:5], scene.broker.web.cancel(parent, scene.workspaces), *ends[5:])
        finished = [answer for answer in answers if isinstance(answer, bool)]
        assert len(finished) == 10
        children = await scene.children(parent)
        assert sum(child.outcome == "succeeded" for child in children) == sum(finished)
        assert {child.status for child in children} == {"DONE"}
        row = await scene.row(parent)
        assert (row.status, row.pending, len(await scene.deliveries(parent))) == ("DONE", 0, 1)
        cancelled = answers[5]
        assert row.outcome == ("succeeded" if isinstance(cancelled, Conflict) else "cancelled")


async def test_cancel_of_a_parent_against_its_listing_leaves_no_open_child(scene: Scene, second: Scene) -> None:
    for _ in range(5):
        id = await scene.accept()
        await scene.change(id, records="[]", size=0)
        (parent,) = await scene.claim()
        pages = [second.expand(parent, 3, first=3 * page, cursor="more") for page in range(6)]
        await told(*pages[:3], scene.broker.web.cancel(id, scene.workspaces), *pages[3:])
        assert {child.status for child in await scene.children(id)} <= {"DONE"}
        assert ((await scene.row(id)).outcome, len(await scene.deliveries(id))) == ("cancelled", 1)


async def test_paused_parent_holds_its_waiting_children_and_running_ones_finish(scene: Scene) -> None:
    parent = await scene.parent(3)
    (running,) = await scene.claim(1)
    assert (await scene.broker.web.pause.pause(parent, scene.workspaces)).status is Status.PAUSED
    assert [child.status for child in await scene.children(parent)] == ["PROCESSING", "PAUSED", "PAUSED"]
    assert await scene.finish(running)
    assert ((await scene.row(parent)).pending, await scene.claim()) == (2, [])
    assert (await scene.broker.web.pause.resume(parent, scene.workspaces)).status is Status.PROCESSING
    await scene.finish_waiting()
    assert (await scene.row(parent)).outcome == "succeeded"


async def test_parent_whose_children_all_ended_while_it_was_paused_is_completed_after_it_is_resumed(
    scene: Scene,
) -> None:
    parent = await scene.parent(1)
    (running,) = await scene.claim()
    await scene.broker.web.pause.pause(parent, scene.workspaces)
    assert await scene.finish(running)
    await scene.complete.finish_parents()
    assert (await scene.row(parent)).status == "PAUSED"
    await scene.broker.web.pause.resume(parent, scene.workspaces)
    await scene.complete.finish_parents()
    assert (await scene.row(parent)).outcome == "succeeded"


async def test_parent_paused_within_its_listing_goes_on_with_it(scene: Scene) -> None:
    id = await scene.accept()
    (parent,) = await scene.claim()
    assert await scene.expand(parent, 1, cursor="page 2")
    await scene.broker.web.pause.pause(id, scene.workspaces)
    assert not await scene.expand(parent, 1, first=1)
    assert (await scene.broker.web.pause.resume(id, scene.workspaces)).status is Status.CREATED
    again, _child = await scene.claim()
    assert (again.id, (await scene.row(id)).cursor) == (id, "page 2")
    assert await scene.expand(again, 1, first=1)
    assert (await scene.row(id)).pending == 2


async def test_neither_parent_nor_child_is_retried(scene: Scene) -> None:
    parent = await scene.parent(1)
    await scene.finish_waiting(500)
    before = await scene.everything()
    for id in (parent, (await scene.children(parent))[0].id):
        with pytest.raises(Conflict, match="larger"):
            await scene.broker.web.retry(id, scene.workspaces)
    assert await scene.everything() == before


async def test_deleted_parent_takes_its_children_with_it(scene: Scene) -> None:
    parent = await scene.parent(2)
    (child, _) = await scene.children(parent)
    with pytest.raises(Conflict, match="not done"):
        await scene.broker.web.delete(parent, scene.workspaces)
    await scene.finish_waiting(500)
    with pytest.raises(Conflict, match="larger"):
        await scene.broker.web.delete(child.id, scene.workspaces)
    await scene.broker.web.delete(parent, scene.workspaces)
    assert not any((await scene.everything()).values())
    with pytest.raises(NotFound):
        await scene.overview(child.id)
