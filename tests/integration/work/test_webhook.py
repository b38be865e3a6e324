"""The webhook that a DONE batch owes: what is sent, how often, and what is known of it afterwards."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from sqlalchemy import Row, insert, select, update
from sqlalchemy.exc import IntegrityError
from standardwebhooks import Webhook as StandardWebhook

from broker.batches import Webhook, new_id
from broker.deliveries import seal_target
from broker.store.tables import AttemptRow, BatchRow, DeliveryRow, EndpointRow, table
from tests.integration.net.servers import not_heard, redirect, reply, stall
from tests.integration.owed import shown_answers
from tests.integration.receiver import Post, Receiver
from tests.integration.running import ROOT, Broker, StartBroker, StartWorker, Worker, in_base64, photograph, until
from tests.openapi_check import check_event

SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}
_deliveries, _attempts = table(DeliveryRow), table(AttemptRow)


async def announce(broker: Broker, url: str, headers: dict[str, str] | None = None, **body: Any) -> str:
    """The id of a batch that will be announced to `url`."""
    hook: dict[str, Any] = {"endpoint": url} | ({"headers": headers} if headers is not None else {})
    accepted = await broker.post({"type": "upscaler", "records": [SOURCE], "webhook": hook, **body})
    return str(accepted["id"])


async def settled(broker: Broker, count: int = 1) -> tuple[str, list[Row[Any]]]:
    """The state of the only delivery, or of all, once no further try follows; and the attempts."""

    async def state() -> str | None:
        rows = await broker.store.rows(select(_deliveries.c.state).where(_deliveries.c.state != "pending"))
        return ", ".join({row.state for row in rows}) if len(rows) == count else None

    found = await until(state)
    return found, list(await broker.store.rows(select(_attempts).order_by(_attempts.c.number)))


def verify(post: Post, secret: str) -> Any:
    return StandardWebhook(secret).verify(post.body, post.headers)


async def test_webhook_is_signed_and_says_what_the_details_say(
    broker: Broker, worker: Worker, receiver: Receiver
) -> None:
    id = await announce(broker, receiver.url("/hook?token=x"), records=[{**SOURCE, "Side": "Front"}, SOURCE])
    (post,) = await receiver.posted()
    assert post.target == "/hook?token=x"
    event = verify(post, broker.tenant.secret)
    assert event == json.loads(post.body)
    check_event(post.headers, post.body)
    details = await broker.details(id)
    assert list(event) == ["status", "id", "type", "response"]
    for records in (event["response"]["records"], details["response"]["records"]):
        for record in records:
            record["_upscaled_image_url"] = record["_upscaled_image_url"].partition("?")[0]
    assert event == {key: details[key] for key in ("status", "id", "type", "response")}
    assert post.headers["content-type"] == "application/json"
    assert post.headers["content-length"] == str(len(post.body))
    assert abs(int(post.headers["webhook-timestamp"]) - time.time()) < 60
    state, attempts = await settled(broker)
    assert (state, [attempt.status_code for attempt in attempts]) == ("delivered", [200])
    delivery = await broker.store.row(select(_deliveries))
    assert bytes(delivery.body) == post.body
    assert post.headers["webhook-id"] == delivery.id
    assert "." not in delivery.id


async def test_a_host_that_is_open_by_its_name_alone_gets_its_webhook(
    start_broker: StartBroker, start_worker: StartWorker, receiver: Receiver
) -> None:
    """The receiver listens on a private address and on a port that is not open."""
    broker = await start_broker(allow_networks=(), allow_hosts=("LOCALHOST.",))
    await start_worker(allow_networks=(), allow_hosts=("LOCALHOST.",))
    await announce(broker, receiver.url(host="localhost"), records=[{"_base64": "aGVsbG8="}])
    assert [post.target for post in await receiver.posted()] == ["/hook"]


async def test_headers_of_the_customer_are_sent_beside_ours(broker: Broker, worker: Worker, receiver: Receiver) -> None:
    custom = {"X-Secret": "s3cr3t; with, signs", "Authorization": "Bearer abc", "Cookie": "a=b", "Accept": "text/x"}
    await announce(broker, receiver.url(), custom)
    (post,) = await receiver.posted()
    for name, value in custom.items():
        assert [sent for header, sent in post.raw_headers if header == name.lower()] == [value]
    ours = ("host", "webhook-id", "webhook-timestamp", "webhook-signature", "content-type", "content-length")
    names = [name for name, _ in post.raw_headers]
    assert [names.count(name) for name in ours] == [1] * len(ours)
    assert post.headers["user-agent"] == "image-broker"
    verify(post, broker.tenant.secret)


async def test_stored_headers_never_replace_ours(broker: Broker, start_worker: StartWorker, receiver: Receiver) -> None:
    accepted = await announce(broker, receiver.url())
    forged = {"Webhook-Id": "forged", "webhook-signature": "v1,forged", "CONTENT-TYPE": "text/plain", "X-Mine": "kept"}
    box = seal_target(broker.core.vault, Webhook(receiver.url(), forged))
    batches = table(BatchRow)
    assert await broker.store.change(batches.update().where(batches.c.id == accepted).values(webhook=box)) == 1
    await start_worker()
    (post,) = await receiver.posted()
    names = [name for name, _ in post.raw_headers]
    assert [names.count(name) for name in ("webhook-id", "webhook-signature", "content-type", "x-mine")] == [1] * 4
    verify(post, broker.tenant.secret)


async def test_every_outcome_is_announced(broker: Broker, worker: Worker, receiver: Receiver) -> None:
    await announce(broker, receiver.url(), records=[{"_base64": "aGVsbG8="}])
    (post,) = await receiver.posted()
    (record,) = post.json()["response"]["records"]
    assert (post.json()["status"], record["_status"]["code"]) == ("DONE", 415)


async def test_failed_tries_are_repeated_with_the_same_id_and_bytes(
    broker: Broker, worker: Worker, receiver: Receiver
) -> None:
    receiver.answers = [reply(500, b"not\0 now"), reply(503), reply(204)]
    await announce(broker, receiver.url())
    posts = await receiver.posted(3)
    assert len({(post.headers["webhook-id"], post.body) for post in posts}) == 1
    stamps = [int(post.headers["webhook-timestamp"]) for post in posts]
    assert stamps == sorted(stamps)
    for post in posts:
        verify(post, broker.tenant.secret)
    state, attempts = await settled(broker)
    assert state == "delivered"
    assert [(row.number, row.status_code, row.error, row.manual) for row in attempts] == [
        (1, 500, None, False),
        (2, 503, None, False),
        (3, 204, None, False),
    ]
    assert await shown_answers(broker, attempts[0].delivery_id) == ["not now", "", ""]
    assert all(row.started > 0 and row.duration_ms >= 0 for row in attempts)


async def test_timestamp_is_that_of_the_try(broker: Broker, start_worker: StartWorker, receiver: Receiver) -> None:
    await start_worker(webhook_schedule=("0", "1.3"))
    receiver.answers = [reply(500), reply(200)]
    await announce(broker, receiver.url())
    first, second = await receiver.posted(2)
    assert int(second.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])
    assert second.headers["webhook-signature"] != first.headers["webhook-signature"]
    assert second.headers["webhook-id"] == first.headers["webhook-id"]
    verify(second, broker.tenant.secret)


async def test_attempt_is_on_record_before_it_is_sent(broker: Broker, worker: Worker, receiver: Receiver) -> None:
    seen: list[tuple[Any, ...]] = []

    async def look() -> None:
        rows = await broker.store.rows(select(_attempts).order_by(_attempts.c.number))
        seen.append(tuple((row.number, row.status_code, row.duration_ms is None) for row in rows))

    receiver.on_post = look
    receiver.answers = [reply(500), reply(200)]
    await announce(broker, receiver.url())
    await receiver.posted(2)
    assert seen == [((1, None, True),), ((1, 500, False), (2, None, True))]


async def test_schedule_that_is_used_up_ends_the_delivery(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    await start_worker(webhook_schedule=("0", "0"))
    receiver.answers = [reply(500)]
    id = await announce(broker, receiver.url())
    state, attempts = await settled(broker)
    assert (state, [row.status_code for row in attempts]) == ("exhausted", [500, 500])
    assert len(receiver.posts) == 2
    assert (await broker.details(id))["status"] == "DONE"
    delivery = await broker.store.row(select(_deliveries))
    assert delivery.finished is not None


async def test_gone_receiver_is_left_alone(broker: Broker, worker: Worker, receiver: Receiver) -> None:
    receiver.answers = [reply(410), reply(200)]
    await announce(broker, receiver.url())
    state, attempts = await settled(broker)
    assert (state, [row.status_code for row in attempts]) == ("stopped", [410])
    await announce(broker, receiver.url("/later"))
    assert [post.target for post in await receiver.posted(2)] == ["/hook", "/later"]


async def test_redirect_is_a_failure_that_is_not_followed(broker: Broker, worker: Worker, receiver: Receiver) -> None:
    receiver.answers = [redirect(receiver.url("/elsewhere"), status) for status in (301, 307, 308)]
    await announce(broker, receiver.url())
    state, attempts = await settled(broker)
    assert (state, [row.status_code for row in attempts]) == ("exhausted", [301, 307, 308])
    assert {post.target for post in receiver.posts} == {"/hook"}


@pytest.mark.parametrize("host", ["127.0.0.1.nip.invalid", "localtest"])
async def test_name_without_an_address_is_a_failure(broker: Broker, start_worker: StartWorker, host: str) -> None:
    await start_worker(webhook_schedule=("0",))
    await announce(broker, f"http://{host}.invalid/")
    state, attempts = await settled(broker)
    assert (state, {row.error for row in attempts}) == ("exhausted", {"name not found"})


async def test_private_address_is_refused_for_good_and_nowhere_named(
    start_broker: StartBroker, start_worker: StartWorker, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    """The networks were open when the batch was accepted, and are closed when its webhook is sent."""
    broker = await start_broker()
    await start_worker(allow_networks=())
    await announce(broker, receiver.url())
    state, attempts = await settled(broker)
    assert state == "refused"
    assert [(row.status_code, row.error) for row in attempts] == [(None, "address not allowed")]
    assert await shown_answers(broker, attempts[0].delivery_id) == [""]
    await announce(broker, receiver.url())
    state, attempts = await settled(broker, 2)
    assert (state, len(attempts)) == ("refused", 2)
    assert receiver.posts == []
    logged = capfd.readouterr()
    assert '"event": "delivery.refused", "level": "warning"' in logged.out
    assert f":{receiver.port}" not in logged.out + logged.err
    assert f":{receiver.port}" not in str([*await broker.store.rows(select(_deliveries)), *attempts])


async def test_receiver_that_hangs_is_cut_off(broker: Broker, start_worker: StartWorker, receiver: Receiver) -> None:
    async def hang_in_the_body(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        await stall(writer)

    await start_worker(webhook_timeout=0.3, webhook_schedule=("0", "0"))
    receiver.answers = [stall, hang_in_the_body]
    await announce(broker, receiver.url())
    state, attempts = await settled(broker)
    assert state == "exhausted"
    assert [(row.status_code, row.error) for row in attempts] == [(None, "timeout")] * 2
    assert all(row.duration_ms >= 300 for row in attempts)


async def test_receiver_that_is_down_is_tried_again(broker: Broker, start_worker: StartWorker) -> None:
    """Once at once, as it may only be restarting, then by the schedule."""
    await start_worker(webhook_schedule=("0", "0"))
    async with not_heard() as port:
        await announce(broker, f"http://127.0.0.1:{port}/")
        state, attempts = await settled(broker)
    assert state == "exhausted"
    assert [row.error for row in attempts] == ["connection refused"] * 3


async def test_receiver_that_hangs_up_is_tried_again(broker: Broker, worker: Worker, receiver: Receiver) -> None:
    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def talk_nonsense(writer: asyncio.StreamWriter) -> None:
        writer.write(b"nonsense\r\n\r\n")

    receiver.answers = [hang_up, talk_nonsense, reply(200)]
    await announce(broker, receiver.url())
    await receiver.posted(3)
    state, attempts = await settled(broker)
    assert (state, [row.status_code for row in attempts]) == ("delivered", [None, None, 200])
    assert "127.0.0.1" not in str(attempts)


async def test_endless_answer_is_kept_to_20_kilobytes(broker: Broker, worker: Worker, receiver: Receiver) -> None:
    async def flood(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    receiver.answers = [flood]
    await announce(broker, receiver.url())
    state, attempts = await settled(broker)
    assert (state, await shown_answers(broker, attempts[0].delivery_id)) == ("delivered", ["x" * 20_000])
    async with asyncio.timeout(20):
        await receiver.broken.wait()


async def test_one_event_of_one_run_is_owed_once(broker: Broker, worker: Worker, receiver: Receiver) -> None:
    await announce(broker, receiver.url())
    await settled(broker)
    (row,) = await broker.store.rows(select(_deliveries))
    with pytest.raises(IntegrityError):
        await broker.store.change(insert(_deliveries).values(**(row._asdict() | {"id": new_id()})))
    another_run = row._asdict() | {"id": new_id(), "run": 2}
    assert await broker.store.change(insert(_deliveries).values(**another_run)) == 1


async def test_batch_without_a_webhook_owes_none(broker: Broker, worker: Worker) -> None:
    await broker.run("upscaler", SOURCE)
    assert await broker.store.rows(select(_deliveries)) == []


async def test_delivery_of_a_worker_that_died_in_mid_send_is_sent_again(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    first = await start_worker(webhook_timeout=60)
    receiver.answers = [stall, reply(200)]
    await announce(broker, receiver.url())
    await receiver.posted()
    await start_worker()
    await broker.store.change(update(_deliveries).values(due=0))
    second, original = await receiver.posted(2)
    assert second.body == original.body
    state, attempts = await settled(broker)
    assert (state, [(row.number, row.status_code) for row in attempts]) == ("delivered", [(1, None), (2, 200)])
    await first.stop()


async def test_target_that_cannot_be_read_is_given_up_in_the_end(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    """As when its key was lost: it must not be tried for ever."""
    await start_worker(webhook_schedule=("0", "1", "0"))
    receiver.answers = [reply(500)]
    await announce(broker, receiver.url())

    async def tried() -> bool:
        return bool(await broker.store.rows(select(_attempts).where(_attempts.c.status_code == 500)))

    await until(tried)
    await broker.store.change(update(_deliveries).values(target=b"nothing that the vault knows"))
    state, attempts = await settled(broker)
    assert state == "exhausted"
    assert [(row.status_code, row.error) for row in attempts] == [(500, None), *[(None, "could not be sent")] * 2]
    endpoint = await broker.store.row(select(table(EndpointRow)))
    assert (endpoint.state, endpoint.failures) == ("healthy", 1)  # what fails on our side is not its fault


async def test_workspaces_sign_with_their_own_secrets(broker: Broker, worker: Worker, receiver: Receiver) -> None:
    other = await broker.store.tenant("other")
    hook = {"endpoint": receiver.url()}
    body = {"type": "upscaler", "records": [SOURCE], "webhook": hook}
    await broker.post(body)
    await receiver.posted()
    answer = await broker.http.post(ROOT, json=body, headers={"Authorization": f"Token {other.token}"})
    assert answer.status_code == 201
    mine, theirs = await receiver.posted(2)
    verify(mine, broker.tenant.secret)
    verify(theirs, other.secret)
    assert broker.tenant.secret != other.secret
