"""Who and what is turned away, in which words, and that nothing of it is kept."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select, update

from broker.store.tables import BatchRow, TokenRow, table
from broker.store.workspaces import revoke_tokens
from tests.integration.running import ROOT, Broker, StartBroker, as_blob, in_base64, until

URL = "https://images.example.com/a.jpg"
BODY: dict[str, Any] = {"type": "upscaler", "records": [{"_url": URL}]}
NOT_PROVIDED = {"detail": "Authentication credentials were not provided."}
INVALID_TOKEN = {"detail": "Invalid token."}
NO_RIGHT = "You are not allowed to access this service: it needs the right `{}`."
NO_WORKSPACE = {"detail": "You are not allowed to access this workspace."}


async def kept(broker: Broker) -> tuple[int, int]:
    """(batches in SQL, blobs)."""
    return len(await broker.store.rows(select(table(BatchRow).c.id))), len(broker.blobs)


def token(secret: str, scheme: str = "Token") -> dict[str, str]:
    return {"Authorization": f"{scheme} {secret}"}


async def test_caller_without_a_known_token_is_unauthenticated(broker: Broker) -> None:
    good = broker.tenant.token
    problems: dict[str, Any] = {
        "": NOT_PROVIDED,
        good: NOT_PROVIDED,
        "Token": NOT_PROVIDED,
        f"Basic {good}": NOT_PROVIDED,
        f"Tokens {good}": NOT_PROVIDED,
        "Token 0000000000000000000000000000000000000000": INVALID_TOKEN,
        f"Token {good[:-1]}": INVALID_TOKEN,
        f"Token {good} {good}": INVALID_TOKEN,
        f"Token {good.upper()}": INVALID_TOKEN,
    }
    for header, problem in problems.items():
        for method, path in (("POST", ROOT), ("GET", ROOT), ("GET", f"{ROOT}/x"), ("GET", f"{ROOT}/x/status")):
            answer = await broker.http.request(method, path, json=BODY, headers={"Authorization": header})
            assert (answer.status_code, answer.json()) == (401, problem), (header, method, path)
            assert answer.headers["www-authenticate"] == "Token"
    assert await kept(broker) == (0, 0)


async def test_every_scheme_takes_the_same_token(broker: Broker) -> None:
    for scheme in ("Token", "Bearer", "JWT", "token", "BEARER", "jwt", "Token "):
        answer = await broker.http.get(ROOT, headers=token(broker.tenant.token, scheme))
        assert answer.status_code == 200, scheme


async def test_revoked_token_is_unauthenticated(broker: Broker) -> None:
    tenant = await broker.store.tenant("other")
    row = await broker.store.row(select(table(TokenRow).c.id).where(table(TokenRow).c.workspace_id == tenant.workspace))
    assert await broker.core.database.writer.write(revoke_tokens, row.id)
    answer = await broker.http.post(ROOT, json=BODY, headers=token(tenant.token))
    assert (answer.status_code, answer.json()) == (401, INVALID_TOKEN)


async def test_token_without_the_scope_is_forbidden(broker: Broker) -> None:
    id = (await broker.post(BODY))["id"]
    reader, submitter = [await broker.store.token("default", [scope]) for scope in ("read", "submit")]
    answer = await broker.http.post(ROOT, json=BODY, headers=token(reader))
    assert (answer.status_code, answer.json()) == (403, {"detail": NO_RIGHT.format("submit")})
    for path in (ROOT, f"{ROOT}/{id}", f"{ROOT}/{id}/status"):
        answer = await broker.http.get(path, headers=token(submitter))
        assert (answer.status_code, answer.json()) == (403, {"detail": NO_RIGHT.format("read")})
        assert (await broker.http.get(path, headers=token(reader))).status_code == 200
    assert (await broker.http.post(ROOT, json=BODY, headers=token(submitter))).status_code == 201
    assert await kept(broker) == (2, 0)


async def test_batch_of_another_workspace_is_not_there(broker: Broker) -> None:
    id = (await broker.post(BODY))["id"]
    other = await broker.store.tenant("other")
    for path in (f"{ROOT}/{id}", f"{ROOT}/{id}/status", f"{ROOT}/{id}?wait=30"):
        answer = await broker.http.get(path, headers=token(other.token))
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."})


async def test_workspace_that_is_not_granted_is_forbidden(broker: Broker) -> None:
    other = await broker.store.tenant("other")
    id = (await broker.post(BODY))["id"]
    for workspace in (other.workspace, "00000000-0000-0000-0000-000000000000"):
        answer = await broker.http.post(ROOT, json=BODY | {"workspace": workspace, "records": [{"_base64": "aGk="}]})
        assert (answer.status_code, answer.json()) == (403, NO_WORKSPACE)
        for path in (ROOT, f"{ROOT}/{id}", f"{ROOT}/{id}/status"):
            answer = await broker.http.get(path, params={"workspace": workspace})
            assert (answer.status_code, answer.json()) == (403, NO_WORKSPACE), path
    assert (await broker.http.get(ROOT, params={"workspace": "no UUID"})).status_code == 403
    assert await kept(broker) == (1, 0)


async def test_granted_workspace_is_submitted_to_and_read(broker: Broker) -> None:
    other = await broker.store.tenant("other", grants=["default"])
    headers = token(other.token)
    body = BODY | {"workspace": broker.tenant.workspace}
    accepted = (await broker.http.post(ROOT, json=body, headers=headers)).json()
    assert accepted["workspace"] == broker.tenant.workspace
    assert accepted["request"] == body
    assert (await broker.details(accepted["id"]))["workspace"] == broker.tenant.workspace
    mine = (await broker.http.post(ROOT, json=BODY, headers=headers)).json()
    assert mine["workspace"] == other.workspace
    for id, workspace, code in (
        (accepted["id"], None, 200),
        (mine["id"], None, 200),
        (accepted["id"], broker.tenant.workspace, 200),
        (mine["id"], broker.tenant.workspace, 404),
    ):
        query = {"workspace": workspace} if workspace else {}
        assert (await broker.http.get(f"{ROOT}/{id}", params=query, headers=headers)).status_code == code


async def test_other_content_types_are_unsupported(broker: Broker) -> None:
    raw = b'{"type":"upscaler","records":[{"_url":"https://a.example.com/"}]}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", ""):
        answer = await broker.http.post(ROOT, content=raw, headers={"Content-Type": kind})
        expected = {"detail": "Unsupported media type; send application/json."}
        assert (answer.status_code, answer.json()) == (415, expected), kind
    assert (await broker.http.post(ROOT, content=raw)).status_code == 415
    assert await kept(broker) == (0, 0)
    for kind in ("application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json"):
        answer = await broker.http.post(ROOT, content=raw, headers={"Content-Type": kind})
        assert answer.status_code == 201, kind


@pytest.mark.parametrize("path", [ROOT, "/api/batches/retry", "/api/webhook-secret"])
async def test_compressed_body_is_unsupported(broker: Broker, path: str) -> None:
    raw = b'{"type":"upscaler","records":[{"_url":"https://a.example.com/"}]}'
    token = await broker.store.token("default", ["submit", "admin"])
    sent = {"Content-Type": "application/json", "Authorization": f"Token {token}"}
    for coding in ("gzip", "GZIP", "br", "x-unknown", "identity, gzip", "gzip, identity", "deflate"):
        for content in (gzip.compress(raw), raw, b"{"):
            answer = await broker.http.post(path, content=content, headers={**sent, "Content-Encoding": coding})
            expected = {"detail": "Unsupported content encoding; send the body uncompressed."}
            assert (answer.status_code, answer.json()) == (415, expected), coding
    assert await kept(broker) == (0, 0)


async def test_body_of_the_identity_encoding_is_accepted(broker: Broker) -> None:
    raw = b'{"type":"upscaler","records":[{"_url":"https://a.example.com/"}]}'
    for coding in ("identity", "Identity", "", "identity, identity"):
        sent = {"Content-Type": "application/json", "Content-Encoding": coding}
        assert (await broker.http.post(ROOT, content=raw, headers=sent)).status_code == 201, coding


async def test_body_over_the_cap_is_too_large(start_broker: StartBroker) -> None:
    broker = await start_broker(max_body_bytes=2000)
    too_large = {"detail": "The request body is too large."}
    answer = await broker.http.post(ROOT, json=BODY | {"note": "x" * 2000})
    assert (answer.status_code, answer.json()) == (413, too_large)
    answer = await broker.http.post(ROOT, json=BODY | {"records": [{"_base64": in_base64(bytes(1500))}]})
    assert (answer.status_code, answer.json()) == (413, too_large)
    assert await kept(broker) == (0, 0)
    assert (await broker.http.post(ROOT, json=BODY | {"note": "x" * 1000})).status_code == 201


async def test_endless_chunked_body_is_cut_off_at_the_cap(start_broker: StartBroker) -> None:
    """The answer comes while the client still sends."""
    broker = await start_broker(max_body_bytes=100_000)
    reader, writer = await asyncio.open_connection(broker.http.base_url.host, broker.http.base_url.port)
    writer.write(
        f"POST {ROOT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        f"Authorization: Token {broker.tenant.token}\r\n\r\n".encode()
    )

    async def send() -> None:
        while True:
            writer.write(b"1000\r\n" + b" " * 4096 + b"\r\n")
            await writer.drain()

    sending = asyncio.create_task(send())
    async with asyncio.timeout(20):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    sending.cancel()
    await asyncio.wait({sending})
    writer.transport.abort()
    assert await kept(broker) == (0, 0)


async def test_chunked_body_under_the_cap_is_taken(broker: Broker) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for part in (b'{"type":"upscaler",', b'"records":[', b'{"_url":"https://a.example.com/"}]}'):
            yield part

    answer = await broker.http.post(ROOT, content=parts(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 201


async def test_client_that_hangs_up_in_its_body_leaves_nothing(broker: Broker) -> None:
    _, writer = await asyncio.open_connection(broker.http.base_url.host, broker.http.base_url.port)
    writer.write(
        f"POST {ROOT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n"
        f'Authorization: Token {broker.tenant.token}\r\n\r\n{{"type":'.encode()
    )
    await writer.drain()
    writer.transport.abort()
    assert (await broker.http.get(ROOT)).json()["count"] == 0
    assert await kept(broker) == (0, 0)


async def test_workspace_with_too_many_open_batches_must_wait(start_broker: StartBroker) -> None:
    broker = await start_broker(max_queued=2)
    other = await broker.store.tenant("other")
    body = BODY | {"records": [as_blob(b"hi")]}
    first, _ = [await broker.post(body) for _ in range(2)]
    for _ in range(3):
        answer = await broker.http.post(ROOT, json=body)
        assert answer.status_code == 429
        assert answer.json() == {"detail": "Too many open requests; wait until some of them are done."}
        assert int(answer.headers["retry-after"]) > 0
    assert await kept(broker) == (2, 2)
    assert (await broker.http.post(ROOT, json=body, headers=token(other.token))).status_code == 201

    batches = table(BatchRow)
    done = update(batches).where(batches.c.id == first["id"]).values(status="DONE", outcome="failed")
    await broker.store.change(done)

    async def taken() -> bool:
        return (await broker.http.post(ROOT, json=body)).status_code == 201

    await until(taken)
    assert (await broker.http.post(ROOT, json=body)).status_code == 429


async def test_limit_of_open_batches_holds_for_posts_at_the_same_time(start_broker: StartBroker) -> None:
    broker = await start_broker(max_queued=5)
    answers = await asyncio.gather(*(broker.http.post(ROOT, json=BODY) for _ in range(20)))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [201] * 5 + [429] * 15
    assert await kept(broker) == (5, 0)


@pytest.mark.parametrize("record", [{"_url": URL}, {"_base64": "aGk="}, as_blob(b"hi")], ids=["_url", "small", "large"])
async def test_post_under_the_free_disk_floor_must_wait(start_broker: StartBroker, record: dict[str, str]) -> None:
    broker = await start_broker(min_free_bytes=2**60)
    answer = await broker.http.post(ROOT, json=BODY | {"records": [record]})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    assert answer.json() == {"detail": "The service is short of disk space. Try again later."}
    assert await kept(broker) == (0, 0)
    assert (await broker.http.get(ROOT)).status_code == 200


@pytest.mark.parametrize("instead", ["nothing", "a file"])
async def test_post_without_a_blob_store_must_wait(broker: Broker, instead: str) -> None:
    folder = broker.core.blobs.folder
    assert folder is not None
    folder.rmdir()
    if instead == "a file":
        folder.write_text("not a folder")
    answer = await broker.http.post(ROOT, json=BODY | {"records": [as_blob(b"hi")]})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert set(answer.json()) == {"detail"}
    assert await broker.store.rows(table(BatchRow).select()) == []
