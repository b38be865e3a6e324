"""`/api/webhook-test`: what is sent, what is told of it, what is refused, and that nothing of it is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from httpx import Response
from sqlalchemy import select
from standardwebhooks import Webhook as StandardWebhook

from broker.batches import new_id
from broker.net.client import post_client
from broker.ping import AT_ONCE, EACH, Ping
from broker.store.tables import AttemptRow, DeliveryRow, EndpointRow, table
from broker.webhooks.answers import Answers
from broker.webhooks.keys import SigningSecrets
from broker.webhooks.post import Poster
from tests.integration.net.servers import Answer, not_heard, redirect, reply, stall
from tests.integration.receiver import Receiver
from tests.integration.running import Broker, StartBroker, serving, until
from tests.integration.trap import Trap, resets, until_left, waits

PATH = "/api/webhook-test"
PUBLIC = "https://hooks.example.com/in"
HUSH = "a-value-that-nobody-else-may-see"
OURS = ["This header is set by the broker and cannot be changed."]


async def send(broker: Broker, url: str, **options: Any) -> dict[str, Any]:
    answer = await broker.http.post(PATH, json={"url": url, **options})
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


async def ping_by(broker: Broker, trap: Trap, token: str) -> Response:
    return await broker.http.post(PATH, json={"url": trap.url()}, headers={"Authorization": f"Token {token}"})


async def kept(broker: Broker) -> list[Any]:
    """All that a webhook leaves behind."""
    tables = [table(each) for each in (DeliveryRow, AttemptRow, EndpointRow)]
    return [row for each in tables for row in await broker.store.rows(select(each))]


async def takes_any_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        head += await reader.read(65536)
    writer.write(reply(200, f"{head.count(b'X-')} {head.count(b'x' * 4096)}".encode()))
    await until_left(reader)


async def held(broker: Broker, trap: Trap, tokens: Sequence[str]) -> list[asyncio.Task[Response]]:
    """A test by each token, under way and not answered."""
    already = trap.connections
    sending = [asyncio.create_task(ping_by(broker, trap, token)) for token in tokens]

    async def arrived() -> bool:
        return trap.connections == already + len(tokens)

    await until(arrived)
    return sending


async def hang_up(sending: Sequence[asyncio.Task[Response]]) -> None:
    for task in sending:
        task.cancel()
    await asyncio.gather(*sending, return_exceptions=True)


async def test_signed_webhook_arrives_and_is_told_to_be_delivered(broker: Broker, receiver: Receiver) -> None:
    result = await send(broker, receiver.url("/hook?k=1"), headers={"X-Mine": HUSH, "Authorization": "Bearer x"})
    (post,) = receiver.posts
    assert result == {
        "id": result["id"],
        "status_code": 200,
        "error": None,
        "duration_ms": result["duration_ms"],
        "response": "thanks",
        "verdict": "done",
    }
    assert post.target == "/hook?k=1"
    told = StandardWebhook(broker.tenant.secret).verify(post.body, post.headers)
    assert told == {
        "type": "webhook.test",
        "timestamp": told["timestamp"],
        "data": {"workspace": broker.tenant.workspace},
    }
    assert datetime.fromisoformat(told["timestamp"]).tzinfo is not None
    assert (post.headers["webhook-id"], post.headers["content-type"]) == (result["id"], "application/json")
    assert (post.headers["x-mine"], post.headers["authorization"]) == (HUSH, "Bearer x")
    assert (post.headers["user-agent"], post.headers["accept-encoding"]) == ("image-broker", "identity")


@pytest.mark.parametrize(
    ("answer", "status", "verdict"),
    [
        pytest.param(reply(204), 204, "done", id="204"),
        pytest.param(reply(500), 500, "later", id="500"),
        pytest.param(reply(429, headers={"Retry-After": "0"}), 429, "later", id="429"),
        pytest.param(reply(404), 404, "later", id="404"),
        pytest.param(reply(410), 410, "never", id="410"),
        pytest.param(reply(400, headers={"Webhook-Delivery": "abort-message"}), 400, "never", id="abort-message"),
        pytest.param(reply(500, headers={"Webhook-Delivery": "disable"}), 500, "never", id="disable"),
    ],
)
async def test_verdict_is_what_the_answer_would_mean_for_a_real_webhook_and_there_is_one_try(
    broker: Broker, receiver: Receiver, answer: Answer, status: int, verdict: str
) -> None:
    receiver.answers = [answer, reply(200)]
    result = await send(broker, receiver.url())
    assert (result["status_code"], result["error"], result["verdict"]) == (status, None, verdict)
    assert len(receiver.posts) == 1
    assert await kept(broker) == []


async def test_redirect_is_told_and_not_followed(broker: Broker, receiver: Receiver) -> None:
    receiver.answers = [redirect(receiver.url("/elsewhere"), 307), reply(200)]
    result = await send(broker, receiver.url())
    assert (result["status_code"], result["verdict"], result["response"]) == (307, "later", "elsewhere")
    assert [post.target for post in receiver.posts] == ["/hook"]


async def test_receiver_that_hangs_is_cut_off_at_the_deadline(start_broker: StartBroker, receiver: Receiver) -> None:
    broker = await start_broker(webhook_timeout=0.5)
    receiver.answers = [stall]
    result = await send(broker, receiver.url())
    assert (result["status_code"], result["error"], result["verdict"]) == (None, "timeout", "later")
    assert 500 <= result["duration_ms"] < 15_000


async def test_why_there_is_no_answer_is_told_in_a_few_words(broker: Broker) -> None:
    async with not_heard() as port, Trap(resets()).listen() as trap:
        for url, error in (
            (f"http://127.0.0.1:{port}/", "connection refused"),
            (trap.url(), "connection lost"),
            ("http://nobody.invalid/", "name not found"),
        ):
            result = await send(broker, url)
            assert (result["status_code"], result["error"], result["verdict"]) == (None, error, "later")


async def test_of_a_long_answer_the_beginning_is_told(broker: Broker, receiver: Receiver) -> None:
    receiver.answers = [reply(200, b"ab" * 500_000)]
    assert (await send(broker, receiver.url()))["response"] == "ab" * 10_000
    receiver.answers = [reply(200, b"." * 19_990 + b"secret-of-the-customer")]
    headers = {"X-Key": "secret-of-the-customer"}
    assert (await send(broker, receiver.url(), headers=headers))["response"] == "." * 19_990 + "***"


async def test_private_address_is_refused_for_good_and_nowhere_named(
    start_broker: StartBroker, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    """A name says nothing of its address before it is looked up, so this is no bad request."""
    broker = await start_broker(allow_networks=("10.9.8.7/32",))
    core = broker.core
    async with post_client(core.policy, resolver=lambda host, port: ["127.0.0.1"]) as client:
        ping = Ping(
            Poster(core.vault, SigningSecrets(core.database, core.vault), client, 20), Answers(), core.check_url
        )
        async with serving(replace(broker.web, ping=ping)) as url:
            answer = await broker.http.post(url + PATH, json={"url": receiver.url(host="inside.example.com")})
    result = answer.json()
    assert (answer.status_code, result["status_code"]) == (200, None)
    assert (result["error"], result["verdict"], result["response"]) == ("address not allowed", "never", "")
    assert receiver.posts == []
    logged = capfd.readouterr()
    for text in (answer.text, logged.out, logged.err):
        assert "127.0.0.1" not in text
        assert "inside" not in text


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ({}, {"url": ["This field is required."]}),
        ({"url": None}, {"url": ["Not a valid string."]}),
        ({"url": "nowhere"}, {"url": ["The URL must start with http:// or https://."]}),
        (
            {"url": "ftp://hooks.example.com/"},
            {"url": ["Scheme ftp is not allowed; the URL must start with http:// or https://."]},
        ),
        ({"url": "http://10.0.0.7/"}, {"url": ["Host 10.0.0.7 is not allowed."]}),
        ({"url": "http://169.254.169.254/latest"}, {"url": ["Host 169.254.169.254 is not allowed."]}),
        ({"url": "http://me:you@hooks.example.com/"}, {"url": ["The URL must not contain a user name or password."]}),
        ({"url": PUBLIC, "retries": 3}, {"retries": ["Unknown option."]}),
        ({"url": PUBLIC, "headers": []}, {"headers": ["Expected an object."]}),
        ({"url": PUBLIC, "headers": {"X-A": 1}}, {"headers": {"X-A": ["Not a valid string."]}}),
        ({"url": PUBLIC, "headers": {"Webhook-Id": "1"}}, {"headers": {"Webhook-Id": OURS}}),
        ({"url": PUBLIC, "headers": {"HOST": "b", "X-Good": "1"}}, {"headers": {"HOST": OURS}}),
        ({"url": PUBLIC, "headers": {"a b": "1"}}, {"headers": {"a b": ["This is not a valid header name."]}}),
        (
            {"url": PUBLIC, "headers": {"X-A": "1\r\nX-B: 2"}},
            {"headers": {"X-A": ["The value may hold only visible ASCII characters, inner spaces and tabs."]}},
        ),
        (
            {"url": PUBLIC, "headers": {"X-A": "x" * 4097}},
            {"headers": {"X-A": ["The value is longer than 4096 bytes."]}},
        ),
        (
            {"url": PUBLIC, "headers": {f"X-{number}": "x" * 4096 for number in range(4)}},
            {"headers": ["Their names and values together are longer than 16384 bytes."]},
        ),
        (
            {"url": PUBLIC, "headers": {f"X-{number}": "1" for number in range(51)}},
            {"headers": ["At most 50 headers are allowed."]},
        ),
    ],
)
async def test_what_a_submission_is_refused_for_is_a_400_that_names_it(
    broker: Broker, sent: Mapping[str, Any], problem: object
) -> None:
    answer = await broker.http.post(PATH, json=sent)
    assert (answer.status_code, answer.json()) == (400, problem)


async def test_port_that_webhooks_may_not_use_is_refused(start_broker: StartBroker) -> None:
    broker = await start_broker(allow_networks=())
    answer = await broker.http.post(PATH, json={"url": "https://hooks.example.com:22/"})
    assert (answer.status_code, answer.json()) == (400, {"url": ["Port 22 is not allowed."]})


async def test_as_many_and_as_long_headers_as_a_submission_may_have_are_sent(
    broker: Broker, receiver: Receiver
) -> None:
    headers = {f"X-{number}": "x" * (4096 if number < 3 else 80) for number in range(50)}
    assert 16_000 < sum(map(len, (*headers, *headers.values()))) <= 16_384
    async with Trap(takes_any_head).listen() as trap:
        assert (await send(broker, trap.url(), headers=headers))["response"] == "50 3"
    answer = await broker.http.post(PATH, json={"url": receiver.url(), "headers": {"X-A": "x" * 1_000_000}})
    assert answer.status_code == 413


async def test_options_are_taken_from_the_body_alone(broker: Broker, receiver: Receiver) -> None:
    for options in ({"url": receiver.url()}, {"workspace": broker.tenant.workspace}):
        answer = await broker.http.post(PATH, params=options, json={"url": receiver.url()})
        assert (answer.status_code, answer.json()) == (400, {name: ["Unknown query parameter."] for name in options})
    assert receiver.posts == []


async def test_header_values_and_urls_are_in_no_answer_and_no_log(
    broker: Broker, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    url = receiver.url(f"/{HUSH}?key={HUSH}")
    receiver.answers = [reply(200, f"you sent {HUSH}".encode()), reply(500), reply(410)]
    own: list[dict[str, str]] = [{"X-Key": HUSH}] * 3
    bad = [{"X-Key": f"{HUSH}\n"}, {"Host": HUSH}, {"X-Key": HUSH, "x-key": HUSH}]
    async with not_heard() as port:
        bodies = [
            *({"url": url, "headers": headers} for headers in (*own, *bad)),
            {"url": f"http://10.0.0.1/{HUSH}", "headers": {"X-Key": HUSH}},
            {"url": f"http://127.0.0.1:{port}/{HUSH}"},
        ]
        answers = [await broker.http.post(PATH, json=body) for body in bodies]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 400, 400, 400, 400, 200]
    assert answers[0].json()["response"] == "you sent ***"
    assert HUSH in str(receiver.posts)
    logged = capfd.readouterr()
    lines = [json.loads(line) for line in logged.out.splitlines() if line.startswith("{")]
    assert [line["status_code"] for line in lines if line["event"] == "webhook.tested"] == [200, 500, 410, None]
    for text in (logged.out, logged.err, *(answer.text for answer in answers)):
        assert HUSH not in text
    assert await kept(broker) == []


async def test_more_than_a_few_at_once_are_told_to_come_later(start_broker: StartBroker) -> None:
    """Those of one workspace before they take all room."""
    broker = await start_broker(webhook_timeout=300)
    assert (AT_ONCE, EACH) == (8, 2)  # as docs/webhooks.md says
    mine, *others, last = [(await broker.store.tenant(f"t{number}")).token for number in range(AT_ONCE // EACH + 1)]
    async with Trap(waits()).listen() as trap:
        sending = await held(broker, trap, [mine] * EACH)
        assert told_to_wait(await ping_by(broker, trap, mine)) == 429
        sending += await held(broker, trap, others * EACH)
        assert told_to_wait(await ping_by(broker, trap, last)) == 503
        assert told_to_wait(await ping_by(broker, trap, mine)) == 429
        assert trap.connections == AT_ONCE
        await hang_up(sending)
        await trap.left()
    async with Trap(waits(reply(200))).listen() as trap:
        assert (await ping_by(broker, trap, mine)).json()["verdict"] == "done"


def told_to_wait(answer: Response) -> int:
    assert answer.headers["retry-after"] == "5"
    assert answer.json() == {"detail": "Too many tests are under way. Try again shortly."}
    return answer.status_code


async def test_sending_ends_when_the_client_hangs_up(start_broker: StartBroker) -> None:
    """Long before the deadline."""
    broker = await start_broker(webhook_timeout=300)
    async with Trap(waits()).listen() as trap:
        await hang_up(await held(broker, trap, [broker.tenant.token]))
        await trap.left()


async def test_test_needs_the_right_submit(broker: Broker, receiver: Receiver) -> None:
    token = await broker.store.token("default", ["read", "storage", "admin"])
    for authorization, status in ((f"Token {token}", 403), ("", 401)):
        headers = {"Authorization": authorization}
        answer = await broker.http.post(PATH, json={"url": receiver.url()}, headers=headers)
        assert answer.status_code == status
    assert receiver.posts == []


async def test_secret_of_a_granted_workspace_signs_when_it_is_named(broker: Broker, receiver: Receiver) -> None:
    guest = await broker.store.tenant("guest", grants=["default"])
    headers = {"Authorization": f"Token {guest.token}"}
    for workspace in (broker.tenant.workspace, None):
        body = {"url": receiver.url(), "workspace": workspace}
        assert (await broker.http.post(PATH, json=body, headers=headers)).status_code == 200
    for post, tenant in zip(receiver.posts, (broker.tenant, guest), strict=True):
        told = StandardWebhook(tenant.secret).verify(post.body, post.headers)
        assert told["data"] == {"workspace": tenant.workspace}
        UUID(post.headers["webhook-id"])
    for foreign in (guest.workspace, new_id()):
        answer = await broker.http.post(PATH, json={"url": receiver.url(), "workspace": foreign})
        assert answer.status_code == 403
    assert len(receiver.posts) == 2
