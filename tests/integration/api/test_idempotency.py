"""`Idempotency-Key` on a POST: a repetition gets the first answer again, whatever happened since, and makes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256

import httpx
import pytest
from msgspec import structs
from sqlalchemy import select, update

from broker.batches import IdempotencyKey, Status
from broker.bootstrap.web import open_web
from broker.dialects.ximilar.submission import parse_submission
from broker.errors import Conflict, Invalid
from broker.store.keys import forget_keys
from broker.store.tables import BatchRow, table
from handlers.registry import Registry
from tests.integration.running import ROOT, Broker, StartBroker, as_blob, serving, until

BODY = b'{"type":"upscaler","records":[{"_url":"https://images.example.com/a.jpg"}]}'
OTHER_BODY = BODY + b" "
DAY_MS = 24 * 3600 * 1000
SMALL = b'{"type":"upscaler","records":[{"_base64":"aGk="},{"_base64":"aG8="}]}'
PICTURES = json.dumps({"type": "upscaler", "records": [as_blob(b"hi"), as_blob(b"ho")]}).encode()
RICH = (
    b'{"records": [{"n": 1.0, "_url": "https://images.example.com/\xc3\xa4.jpg", "big": 123456789012345678901234567890,'
    b'"f": [0.1, 1e22, -0.0, null, true, {"b": 1, "a": "\\ud83d\\ude00\\u2028"}]},'
    b' {"_base64": "aGk=", "_id": "00000000-0000-4000-8000-000000000001"}],'
    b' "type": "upscaler", "endpoint": "upscale_4x", "mine": {"z": 1, "y": [{}]},'
    b' "webhook": {"endpoint": "https://hooks.example.com/", "headers": {"X-A": "b"}}}'
)
USED = {"detail": "This Idempotency-Key was used with another body."}
_batches = table(BatchRow)


async def post(
    broker: Broker, key: str | None, body: bytes = BODY, url: str = ROOT, token: str | None = None
) -> httpx.Response:
    headers = {"Content-Type": "application/json", "Authorization": f"Token {token or broker.tenant.token}"}
    return await broker.http.post(url, content=body, headers=headers | ({"Idempotency-Key": key} if key else {}))


async def kept(broker: Broker) -> tuple[int, int]:
    """(batches in SQL, blobs)."""
    return len(await broker.store.rows(select(_batches.c.id))), len(broker.blobs)


async def finish(broker: Broker, id: str) -> None:
    """As if the batch had been run, retried and run again long since."""
    changes = {"status": "DONE", "outcome": "failed", "run": 2, "lease_seq": 3, "modified": 1, "finished": 1}
    assert await broker.store.change(update(_batches).where(_batches.c.id == id).values(**changes)) == 1


@asynccontextmanager
async def another_process(broker: Broker) -> AsyncIterator[str]:
    """The URL of a second web process's parts on the same database and blobs."""
    async with open_web(broker.core.settings) as web, serving(web) as url:
        yield url + ROOT


def same(answers: list[httpx.Response]) -> httpx.Response:
    """The one answer that all of them are."""
    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
    return answers[0]


@pytest.mark.parametrize("body", [BODY, SMALL, PICTURES, RICH], ids=["url", "small", "large", "rich"])
async def test_repetition_gets_the_same_bytes_though_the_batch_is_done(broker: Broker, body: bytes) -> None:
    first = await post(broker, "a", body)
    assert first.status_code == 201
    before = await kept(broker)
    again = await post(broker, "a", body, ROOT + "/")
    await finish(broker, first.json()["id"])
    last = await post(broker, "a", body)
    assert same([first, again, last]).json()["status"] == "CREATED"
    assert await kept(broker) == before


async def test_without_a_key_every_post_is_a_batch(broker: Broker) -> None:
    answers = [await post(broker, None) for _ in range(2)]
    assert len({answer.json()["id"] for answer in answers}) == 2
    assert await kept(broker) == (2, 0)


async def test_key_with_another_body_is_refused(broker: Broker) -> None:
    first = await post(broker, "a")
    for body in (OTHER_BODY, BODY.replace(b"upscaler", b"upscaleR"), PICTURES):
        answer = await post(broker, "a", body)
        assert (answer.status_code, answer.json()) == (409, USED)
    assert await kept(broker) == (1, 0)
    assert (await post(broker, "a")).content == first.content
    assert (await post(broker, "A", OTHER_BODY)).status_code == 201


async def test_key_of_another_workspace_is_another_key(broker: Broker) -> None:
    other = await broker.store.tenant("other")
    colleague = await broker.store.token("default", ["submit"])
    mine, theirs = await post(broker, "a"), await post(broker, "a", OTHER_BODY, token=other.token)
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert theirs.json()["workspace"] == other.workspace
    same([mine, await post(broker, "a", token=colleague)])
    assert await kept(broker) == (2, 0)


async def test_key_of_another_dialect_is_refused(broker: Broker) -> None:
    submission = parse_submission(BODY, lambda _url: None)
    key = IdempotencyKey("a", sha256(BODY).digest())
    workspace, accept = broker.tenant.workspace, broker.web.accept
    batch = await accept(submission, workspace, "https://broker.example", key)
    await finish(broker, batch.id)
    again = await accept(submission, workspace, "https://elsewhere.example", key)
    assert (again.id, again.records, again.created) == (batch.id, batch.records, batch.created)
    assert (again.base_url, again.status) == ("https://broker.example", Status.DONE)
    with pytest.raises(Conflict, match="was used with another body"):
        await accept(structs.replace(submission, dialect="another"), workspace, "https://broker.example", key)
    assert await kept(broker) == (1, 0)


async def test_repetition_is_answered_though_its_type_is_no_longer_installed(broker: Broker) -> None:
    submission = parse_submission(BODY, lambda _url: None)
    key = IdempotencyKey("a", sha256(BODY).digest())
    batch = await broker.web.accept(submission, broker.tenant.workspace, "https://broker.example", key)
    bare = replace(broker.web.accept, registry=Registry({}))
    assert (await bare(submission, broker.tenant.workspace, "https://broker.example", key)).id == batch.id
    with pytest.raises(Invalid):
        await bare(submission, broker.tenant.workspace, "https://broker.example", structs.replace(key, name="b"))


async def test_key_is_free_again_after_a_day(broker: Broker) -> None:
    first = await post(broker, "a", PICTURES)
    await broker.store.change(update(_batches).values(created=_batches.c.created - DAY_MS + 60_000))
    assert await broker.core.database.writer.write(forget_keys, 100) == 0
    assert (await post(broker, "a", PICTURES)).json()["id"] == first.json()["id"]
    await broker.store.change(update(_batches).values(created=_batches.c.created - 60_001))
    assert await broker.core.database.writer.write(forget_keys, 100) == 1
    again = await post(broker, "a", BODY)
    assert (again.status_code, again.json()["id"] == first.json()["id"]) == (201, False)
    assert (await broker.details(first.json()["id"]))["id"] == first.json()["id"]
    assert await kept(broker) == (2, 2)


async def test_duplicates_at_the_same_time_make_one_batch(broker: Broker) -> None:
    async with another_process(broker) as elsewhere:
        posts = [post(broker, "a", PICTURES, url) for _ in range(10) for url in (ROOT, elsewhere)]
        answer = same(await asyncio.gather(*posts))
    assert await kept(broker) == (1, 2)
    batch = await broker.store.row(select(_batches))
    assert batch.id == answer.json()["id"]
    assert all(f"/{batch.id}/" in blob for blob in broker.blobs)


async def test_loser_of_a_race_leaves_no_blob_and_takes_no_place(start_broker: StartBroker) -> None:
    """All three have looked for the key and stored their pictures before the first is committed."""
    broker = await start_broker(max_queued=4)
    async with broker.store.locked():
        posts = [asyncio.create_task(post(broker, "a", PICTURES)) for _ in range(2)]
        posts.append(asyncio.create_task(post(broker, "a", PICTURES + b" ")))
        await until(lambda: blobs_are(broker, 6))
    answers = await asyncio.gather(*posts)
    assert sorted(answer.status_code for answer in answers) in ([201, 201, 409], [201, 409, 409])
    accepted = [answer for answer in answers if answer.status_code == 201]
    refused = [answer for answer in answers if answer.status_code == 409]
    same(accepted)
    assert all(answer.json() == USED for answer in refused)
    assert await kept(broker) == (1, 2)
    assert [(await post(broker, None)).status_code for _ in range(3)] == [201, 201, 201]


async def test_unanswered_post_is_repeated_safely(broker: Broker) -> None:
    """The client hangs up while the commit waits."""
    async with broker.store.locked():
        unanswered = asyncio.create_task(post(broker, "a", PICTURES))
        await until(lambda: blobs_are(broker, 2))
        unanswered.cancel()
        await asyncio.wait({unanswered})
        again = asyncio.create_task(post(broker, "a", PICTURES))
        await until(lambda: blobs_are(broker, 4))
    same([await again, await post(broker, "a", PICTURES)])
    await until(lambda: blobs_are(broker, 2))
    assert await kept(broker) == (1, 2)


async def test_post_that_could_not_be_stored_is_repeated_safely(broker: Broker) -> None:
    folder = broker.core.blobs.folder
    assert folder is not None
    folder.rmdir()
    assert (await post(broker, "a", PICTURES)).status_code == 503
    assert await broker.store.rows(select(_batches.c.id)) == []
    folder.mkdir()
    same([await post(broker, "a", PICTURES) for _ in range(2)])
    assert await kept(broker) == (1, 2)


async def test_repetition_is_answered_over_the_limit_of_open_batches(start_broker: StartBroker) -> None:
    broker = await start_broker(max_queued=1)
    first = await post(broker, "a")
    assert (await post(broker, "b")).status_code == 429
    same([first, await post(broker, "a")])
    assert (await post(broker, "a", OTHER_BODY)).status_code == 409
    await finish(broker, first.json()["id"])

    async def taken() -> bool:
        return (await post(broker, "b")).status_code == 201

    await until(taken)
    assert await kept(broker) == (2, 0)


async def test_refused_post_uses_no_key_up(broker: Broker) -> None:
    refused = await post(broker, "a", b'{"type":"nonsense","records":[{"_url":"https://images.example.com/a.jpg"}]}')
    assert refused.status_code == 400
    assert (await post(broker, "a", b"{")).status_code == 400
    assert (await post(broker, "a")).status_code == 201


@pytest.mark.parametrize("key", [b"", b"a b", "ä".encode(), "ä".encode("latin-1"), b"x" * 256])
async def test_key_that_is_none_is_named(broker: Broker, key: bytes) -> None:
    headers = [(b"Content-Type", b"application/json"), (b"Idempotency-Key", key)]
    answer = await broker.http.post(ROOT, content=BODY, headers=headers)
    problem = {"Idempotency-Key": ["1 to 255 visible ASCII characters are required."]}
    assert (answer.status_code, answer.json()) == (400, problem)
    assert await kept(broker) == (0, 0)


async def test_header_that_comes_twice_is_refused(broker: Broker) -> None:
    headers = [("Content-Type", "application/json"), ("Idempotency-Key", "a"), ("idempotency-key", "a")]
    answer = await broker.http.post(ROOT, content=BODY, headers=headers)
    assert (answer.status_code, answer.json()) == (400, {"Idempotency-Key": ["It may come only once."]})
    assert await kept(broker) == (0, 0)


@pytest.mark.parametrize("key", ["!", "~" * 255, '"8e03978e-40d5-43e8-bc93-6894a57f9324"', "a,b", "0"])
async def test_every_visible_ascii_character_is_good(broker: Broker, key: str) -> None:
    same([await post(broker, key) for _ in range(2)])
    assert (await broker.store.row(select(_batches.c.idempotency_key))).idempotency_key == key


async def blobs_are(broker: Broker, count: int) -> bool:
    return len(broker.blobs) == count
