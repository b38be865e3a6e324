"""Asking for one more try of a delivery: what that changes, what refuses it, and that it is one try however often."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, update

from broker.batches import new_id
from broker.deliveries import State
from broker.errors import Conflict, NotFound
from broker.store.attempts import Report, record_attempts
from tests.integration.owed import ATTEMPTS, DELIVERIES, attempt_rows, change_endpoint, delivery_row, owe
from tests.integration.running import Broker
from tests.integration.store.rows import EXPIRED, attempt_result, claim_due
from tests.integration.usecases.scene import Scene, told

API = "/api/deliveries"
ENDED = sorted(set(State) - {State.PENDING})
NEVER = 2**52


async def replay(broker: Broker, id: str) -> dict[str, Any]:
    """How the delivery stands then."""
    answer = await broker.http.post(f"{API}/{id}/replay")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def refusal(broker: Broker, id: str) -> str:
    answer = await broker.http.post(f"{API}/{id}/replay")
    assert answer.status_code == 409, answer.text
    return str(answer.json()["detail"])


@pytest.mark.parametrize("state", ENDED)
async def test_an_ended_delivery_is_due_for_one_manual_try_and_keeps_its_state(broker: Broker, state: State) -> None:
    (id,) = await owe(broker, state=state, attempts=2, step=2, due=None, finished=7)
    before = (await broker.http.get(f"{API}/{id}")).json()
    answer = await replay(broker, id)
    assert answer.pop("next_try") is not None
    assert answer == {
        **{name: before[name] for name in answer},
        "manual": True,
        "state": state.value,
        "finished": "1970-01-01T00:00:00.007000Z",
    }
    (due,) = await claim_due(broker.core.database)
    assert (due.id, due.manual, due.step, due.attempt, due.state) == (id, True, 2, 3, state)


async def test_a_pending_one_is_tried_now_and_the_try_takes_no_place_in_the_schedule(broker: Broker) -> None:
    (id,) = await owe(broker, attempts=3, step=3, due=NEVER)
    assert await claim_due(broker.core.database) == []
    for _ in range(2):
        assert (await replay(broker, id))["manual"] is True
    (due,) = await claim_due(broker.core.database)
    assert (due.manual, due.step, due.attempt, due.state) == (True, 3, 4, State.PENDING)
    failed = attempt_result(due, State.PENDING, status_code=500)
    await broker.core.database.writer.write(record_attempts, Report(failed))
    assert (await delivery_row(broker)).due == NEVER


async def test_one_that_is_held_back_by_an_open_breaker_goes_at_once_and_no_other_does(broker: Broker) -> None:
    other, id = await owe(broker, 2, due=None, held=1)
    await change_endpoint(broker, open_until=NEVER, holding=True)
    assert await claim_due(broker.core.database) == []
    answer = await replay(broker, id)
    assert (answer["held"], answer["manual"]) == (False, True)
    assert [due.id for due in await claim_due(broker.core.database)] == [id]
    assert (await delivery_row(broker, other)).held == 1


async def test_asked_again_before_it_is_sent_it_keeps_its_place(broker: Broker) -> None:
    (id,) = await owe(broker, state="exhausted", due=None)
    await replay(broker, id)
    await broker.store.change(update(DELIVERIES).values(due=5))
    assert (await replay(broker, id))["next_try"] == "1970-01-01T00:00:00.005000Z"
    assert len(await claim_due(broker.core.database)) == 1


async def test_asked_many_times_at_once_it_is_one_try(scene: Scene, second: Scene) -> None:
    broker = scene.broker
    (id,) = await owe(broker, state="exhausted", due=None)
    calls = [one.broker.web.replay(id, scene.workspaces) for one in (scene, second) * 5]
    assert all(shown.stored.manual for shown in await asyncio.gather(*calls))
    assert [due.id for due in await claim_due(broker.core.database)] == [id]
    assert await claim_due(broker.core.database) == []
    assert await attempt_rows(broker) == [(1, True, None, None)]


async def test_one_that_is_being_sent_is_refused_until_its_try_has_ended(broker: Broker) -> None:
    (id,) = await owe(broker)
    (due,) = await claim_due(broker.core.database)
    before = await delivery_row(broker)
    assert await refusal(broker, id) == "It is being sent right now."
    assert await delivery_row(broker) == before
    await broker.core.database.writer.write(record_attempts, Report(attempt_result(due)))
    assert (await replay(broker, id))["state"] == "delivered"


async def test_a_replay_under_way_is_refused_a_second_time(broker: Broker) -> None:
    (id,) = await owe(broker, state="delivered", due=None)
    await replay(broker, id)
    await claim_due(broker.core.database)
    assert await refusal(broker, id) == "It is being sent right now."


async def test_one_that_was_superseded_while_it_is_being_sent_is_refused(broker: Broker) -> None:
    """It is not due any more, so only its attempt tells that there is a sender."""
    (id,) = await owe(broker)
    await claim_due(broker.core.database)
    await broker.store.change(update(DELIVERIES).values(state="superseded", due=None))
    assert await refusal(broker, id) == "It is being sent right now."
    await broker.store.change(update(ATTEMPTS).values(started=1))
    assert (await replay(broker, id))["state"] == "superseded"


async def test_a_try_whose_sender_died_is_no_obstacle_and_its_late_outcome_counts_for_nothing(broker: Broker) -> None:
    (id,) = await owe(broker)
    (lost,) = await claim_due(broker.core.database, lease_ms=EXPIRED)
    await broker.store.change(update(DELIVERIES).values(state="superseded", due=None))
    await broker.store.change(update(ATTEMPTS).values(started=1))
    await replay(broker, id)
    late = attempt_result(lost, State.PENDING, status_code=500)
    recorded = await broker.core.database.writer.write(record_attempts, Report(late))
    assert recorded.settled is False
    row = await delivery_row(broker)
    assert (row.state, row.manual, row.due is not None) == ("superseded", True, True)


async def test_a_disabled_endpoint_is_named_and_nothing_is_sent_to_it(broker: Broker) -> None:
    (id,) = await owe(broker, state="stopped", due=None)
    endpoint = await change_endpoint(broker, state="disabled")
    before = await delivery_row(broker)
    assert await refusal(broker, id) == f"Its endpoint {endpoint} is disabled; enable it first."
    assert await delivery_row(broker) == before
    await change_endpoint(broker, state="failing")
    assert (await replay(broker, id))["manual"] is True


async def test_id_that_is_not_there_is_a_404_and_changes_nothing(broker: Broker) -> None:
    (id,) = await owe(broker, state="stopped", due=None)
    other = await broker.store.tenant("other")
    before = await delivery_row(broker)
    theirs = {"Authorization": f"Token {other.token}"}
    for name, headers in ((new_id(), {}), ("1", {}), ("%00", {}), (id[:-1], {}), (id, theirs), (id.upper(), theirs)):
        answer = await broker.http.post(f"{API}/{name}/replay", headers=headers)
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."}), name
    assert await delivery_row(broker) == before
    assert (await replay(broker, id.upper()))["id"] == id


async def test_wrong_option_is_a_400_that_names_it(broker: Broker) -> None:
    (id,) = await owe(broker, state="stopped", due=None)
    options: list[dict[str, Any]] = [{"json": {"since": 1}}, {"params": {"since": 1}}]
    for sent in options:
        answer = await broker.http.post(f"{API}/{id}/replay", **sent)
        assert (answer.status_code, answer.json()) == (400, {"since": ["Unknown option."]})
    assert (await delivery_row(broker)).manual is False


async def test_replays_and_claims_at_the_same_time_make_no_try_that_two_know_of(scene: Scene, second: Scene) -> None:
    """Each is claimed by schedule, or asked for and then claimed, or refused: never asked for while it is sent."""
    ids = await owe(scene.broker, 200)

    async def claim_all() -> list[str]:
        mine: list[str] = []
        while some := await claim_due(second.broker.core.database, 7):
            mine += [due.id for due in some]
        return mine

    async def ask_all() -> list[Any]:
        found: list[Any] = []
        for start in range(0, len(ids), 10):
            chunk = ids[start : start + 10]
            found += await told(*(scene.broker.web.replay(id, scene.workspaces) for id in chunk))
        return found

    claimed, asked = await asyncio.gather(claim_all(), ask_all())
    assert sorted(claimed) == sorted(ids)
    manual = select(ATTEMPTS.c.delivery_id).where(ATTEMPTS.c.manual)
    tried = {row.delivery_id for row in await scene.broker.store.rows(manual)}
    assert {id for id, answer in zip(ids, asked, strict=True) if not isinstance(answer, Conflict)} == tried
    assert len(await attempt_rows(scene.broker)) == len(ids)


async def test_another_workspace_cannot_ask_for_it(scene: Scene) -> None:
    (id,) = await owe(scene.broker, state="stopped", due=None)
    with pytest.raises(NotFound):
        await scene.broker.web.replay(id, (new_id(),))
