"""What receivers get when a delivery is replayed, and what becomes of it, with a worker that sends."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, update
from standardwebhooks import Webhook as StandardWebhook

from broker.deliveries import State
from tests.integration.net.servers import Answer, not_heard, reply
from tests.integration.owed import ATTEMPTS, DELIVERIES, attempt_rows, change_endpoint, delivery_row, owe
from tests.integration.receiver import Receiver
from tests.integration.running import Broker, StartWorker, Worker, in_base64, photograph, until

SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}
API = "/api/deliveries"
TWO_HOURS = 7200
LATE = 60_000
NEVER = 2**52
ENDED = sorted(set(State) - {State.PENDING})


async def announce(broker: Broker, url: str, **headers: str) -> None:
    hook = {"endpoint": url, "headers": headers}
    await broker.post({"type": "upscaler", "records": [SOURCE], "webhook": hook})


async def tried(broker: Broker, count: int, id: str | None = None) -> Any:
    """The row of a delivery, by default of the only one, once so many tries have ended."""

    async def ended() -> Any:
        some = select(ATTEMPTS.c.number).where(ATTEMPTS.c.duration_ms.is_not(None))
        rows = await broker.store.rows(some if id is None else some.where(ATTEMPTS.c.delivery_id == id))
        return await delivery_row(broker, id) if len(rows) == count else None

    return await until(ended)


async def replay(broker: Broker, id: str) -> dict[str, Any]:
    answer = await broker.http.post(f"{API}/{id}/replay")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_the_same_id_and_bytes_come_again_with_a_fresh_signature(
    broker: Broker, worker: Worker, receiver: Receiver
) -> None:
    await announce(broker, receiver.url("/hook?key=x"), **{"X-Mine": "kept"})
    before = await tried(broker, 1)
    assert before.state == "delivered"
    await asyncio.sleep(max(0.0, int(receiver.posts[0].headers["webhook-timestamp"]) + 1.1 - time.time()))
    assert (await replay(broker, before.id))["manual"] is True
    after = await tried(broker, 2)
    first, second = receiver.posts
    assert (second.target, second.body, second.headers["x-mine"]) == (first.target, first.body, "kept")
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == before.id
    assert int(second.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])
    assert second.headers["webhook-signature"] != first.headers["webhook-signature"]
    StandardWebhook(broker.tenant.secret).verify(second.body, second.headers)
    assert await attempt_rows(broker) == [(1, False, 200, None), (2, True, 200, None)]
    assert (after.state, after.finished, after.manual, after.due) == ("delivered", before.finished, False, None)
    shown = (await broker.http.get(f"{API}/{before.id}")).json()
    assert [(one["number"], one["manual"], one["response"]) for one in shown["tries"]] == [
        (1, False, "thanks"),
        (2, True, "thanks"),
    ]
    assert shown["body"] == first.body.decode()


@pytest.mark.parametrize("state", ENDED)
async def test_a_try_that_fails_leaves_an_ended_delivery_as_it_is_and_none_follows(
    broker: Broker, worker: Worker, receiver: Receiver, state: State
) -> None:
    receiver.answers = [reply(500), reply(200)]
    (id,) = await owe(broker, url=receiver.url(), state=state, attempts=0, due=None, finished=7)
    await replay(broker, id)
    row = await tried(broker, 1)
    assert (row.state, row.finished, row.manual, row.due, row.held) == (state, 7, False, None, None)
    await replay(broker, id)
    row = await tried(broker, 2)
    assert (row.state, row.due) == ("delivered", None)
    assert (row.finished == 7) is (state is State.DELIVERED)
    assert await attempt_rows(broker) == [(1, True, 500, None), (2, True, 200, None)]
    assert len(receiver.posts) == 2


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@pytest.mark.parametrize("answer", [reply(429, headers={"Retry-After": "1"}), hang_up], ids=["429", "dead"])
async def test_neither_retry_after_nor_the_instant_retry_follows_a_manual_try(
    broker: Broker, worker: Worker, receiver: Receiver, answer: Answer
) -> None:
    receiver.answers = [answer]
    (id,) = await owe(broker, url=receiver.url(), state="exhausted", due=None)
    await replay(broker, id)
    row = await tried(broker, 1)
    assert (row.state, row.due, row.hurried) == ("exhausted", None, False)


async def test_a_pending_delivery_keeps_the_rest_of_its_schedule(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    await start_worker(webhook_schedule=("0", str(TWO_HOURS), "10"))
    receiver.answers = [reply(500)]
    await announce(broker, receiver.url())
    first = await tried(broker, 1)
    assert 0.8 * TWO_HOURS * 1000 <= first.due - first.created <= 1.2 * TWO_HOURS * 1000 + LATE
    for count in (2, 3, 4):
        await replay(broker, first.id)
        row = await tried(broker, count)
        assert (row.state, row.step, row.manual) == ("pending", 1, False)
        assert (row.due, row.scheduled) == (first.due, None)
    for count, state in ((5, "pending"), (6, "exhausted")):
        await broker.store.change(update(DELIVERIES).values(due=1))
        assert (await tried(broker, count)).state == state
    manual = [manual for _, manual, _, _ in await attempt_rows(broker)]
    assert manual == [False, True, True, True, False, False]


async def test_a_pending_delivery_that_arrives_by_a_replay_is_done(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    await start_worker(webhook_schedule=("0", str(TWO_HOURS)))
    receiver.answers = [reply(500), reply(200)]
    await announce(broker, receiver.url())
    await replay(broker, (await tried(broker, 1)).id)
    row = await tried(broker, 2)
    assert (row.state, row.due, row.finished is not None) == ("delivered", None, True)


async def test_an_open_breaker_does_not_keep_a_replay_waiting(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    other, id = await owe(broker, 2, url=receiver.url())
    await change_endpoint(broker, receiver.url(), open_until=NEVER)
    await start_worker()

    async def held() -> bool:
        return (await delivery_row(broker, id)).held is not None

    await until(held)
    assert (await broker.http.get(f"{API}/{id}")).json()["held"] is True
    await change_endpoint(broker, receiver.url(), open_until=NEVER)
    await replay(broker, id)
    await tried(broker, 1, id)
    assert receiver.posts[0].headers["webhook-id"] == id
    assert await attempt_rows(broker, id) == [(1, True, 200, None)]
    # The answer closes the breaker, so that the other one goes, too.
    await tried(broker, 1, other)
    assert await attempt_rows(broker, other) == [(1, False, 200, None)]


async def test_replays_that_have_no_room_at_an_open_breaker_follow_as_soon_as_there_is_some(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    """Nothing else is sent to it meanwhile. Those that fail wait for their turn again, each where it was."""
    first, *others = await owe(broker, 4, url=receiver.url())
    receiver.answers = [reply(500)] * 3
    await change_endpoint(broker, receiver.url(), open_until=NEVER)
    await start_worker()
    turns = {id: await until(partial(_held, broker, id)) for id in others}
    for id in others:
        await replay(broker, id)
    for id in others:
        await tried(broker, 1, id)
        assert await attempt_rows(broker, id) == [(1, True, 500, None)]
    assert {id: await until(partial(_held, broker, id)) for id in others} == turns
    assert await attempt_rows(broker, first) == []


async def _held(broker: Broker, id: str) -> int | None:
    """When it was due, in ms since 1970, while it is held back without being asked for."""
    row = await delivery_row(broker, id)
    return None if row.manual else row.held


async def test_a_disabled_endpoint_gets_none_until_it_is_enabled_and_then_what_it_missed(
    broker: Broker, worker: Worker, receiver: Receiver
) -> None:
    receiver.answers = [reply(410), reply(200)]
    await announce(broker, receiver.url())
    gone = await tried(broker, 1)
    assert gone.state == "stopped"
    (missed,) = await owe(broker, url=receiver.url())

    async def stopped() -> bool:
        return bool((await delivery_row(broker, missed)).state == "stopped")

    await until(stopped)
    answer = await broker.http.post(f"{API}/{gone.id}/replay")
    detail = {"detail": f"Its endpoint {gone.endpoint} is disabled; enable it first."}
    assert (answer.status_code, answer.json()) == (409, detail)
    lost = {"what": "missing", "since": 0}
    refusal = {"id": missed, "reason": detail["detail"]}
    assert (await broker.http.post(f"{API}/replay", json=lost)).json()["refusals"] == [refusal]
    assert len(receiver.posts) == 1

    await change_endpoint(broker, receiver.url(), state="healthy", reason=None, failures=0, failing_since=None)
    assert (await broker.http.post(f"{API}/replay", json=lost)).json()["replayed"] == 1
    assert (await tried(broker, 1, missed)).state == "delivered"
    assert [post.headers["webhook-id"] for post in receiver.posts] == [gone.id, missed]


async def test_one_that_is_being_sent_is_refused(broker: Broker, worker: Worker, receiver: Receiver) -> None:
    sending, answered = asyncio.Event(), asyncio.Event()

    async def answer_late() -> None:
        sending.set()
        await answered.wait()

    receiver.on_post = answer_late
    await announce(broker, receiver.url())
    await sending.wait()
    id = (await delivery_row(broker)).id
    answer = await broker.http.post(f"{API}/{id}/replay")
    assert (answer.status_code, answer.json()) == (409, {"detail": "It is being sent right now."})
    shown = (await broker.http.get(f"{API}/{id}")).json()
    assert [(one["number"], one["duration_ms"], one["response"]) for one in shown["tries"]] == [(1, None, None)]
    answered.set()
    assert (await tried(broker, 1)).state == "delivered"
    await replay(broker, id)
    await tried(broker, 2)


async def test_replays_asked_for_at_the_same_time_are_one_try(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    (id,) = await owe(broker, url=receiver.url(), state="delivered", due=None)
    await asyncio.gather(*(replay(broker, id) for _ in range(8)))
    await start_worker()
    row = await tried(broker, 1)
    assert (row.attempts, row.due, row.manual, len(receiver.posts)) == (1, None, False, 1)


async def test_an_address_that_is_not_allowed_is_refused_without_being_named(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    await start_worker(allow_networks=())
    (id,) = await owe(broker, url=receiver.url(), state="stopped", due=None)
    await replay(broker, id)
    assert (await tried(broker, 1)).state == "stopped"
    (one,) = (await broker.http.get(f"{API}/{id}")).json()["tries"]
    assert (one["error"], one["status_code"], one["response"]) == ("address not allowed", None, "")
    assert receiver.posts == []


async def test_a_receiver_that_is_down_is_tried_once(broker: Broker, worker: Worker) -> None:
    async with not_heard() as port:
        (id,) = await owe(broker, url=f"http://127.0.0.1:{port}/", state="exhausted", due=None)
        await replay(broker, id)
        await tried(broker, 1)
        assert await attempt_rows(broker) == [(1, True, None, "connection refused")]
        assert (await delivery_row(broker)).due is None


async def test_secrets_of_customers_are_in_no_answer_and_no_log(
    broker: Broker, worker: Worker, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of headers the values, of the URL the query; names of headers and the path are shown."""

    async def echo(writer: asyncio.StreamWriter) -> None:
        last = receiver.posts[-1]
        writer.write(reply(500, repr((last.target, last.raw_headers)).encode()))

    receiver.answers = [echo]
    hidden = {"X-Key": "hidden-header-value", "Authorization": "Bearer hidden-bearer"}
    await announce(broker, receiver.url("/to-see?key=hidden-query&b=hidden%20too"), **hidden)
    id = (await tried(broker, 3)).id
    said = [await replay(broker, id)]
    await tried(broker, 4)
    said += [(await broker.http.get(path)).json() for path in (API, f"{API}/{id}", f"{API}?state=exhausted")]
    said.append((await broker.http.post(f"{API}/replay", json={"what": "failed", "since": 0})).json())
    await tried(broker, 5)
    logged = capfd.readouterr()
    everything = f"{said}{logged.out}{logged.err}"
    assert said[2]["headers"] == {"X-Key": "***", "Authorization": "***"}
    assert said[2]["url"] == receiver.url("/to-see")
    assert "/to-see?key=***&b=***" in said[2]["tries"][0]["response"]
    assert "hidden" not in everything
    assert "hidden" not in str(await broker.store.rows(select(ATTEMPTS)))
