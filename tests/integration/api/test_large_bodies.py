"""Large bodies have a room: beyond it a POST is refused, and every end of a POST gives back what it held."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from broker.api.intake import SMALL
from tests.integration.running import ROOT, Broker, StartBroker, in_base64, until

LARGEST = 2 * SMALL
LARGE: dict[str, Any] = {"type": "upscaler", "records": [{"_base64": in_base64(bytes(SMALL))}]}
LINKS: dict[str, Any] = {"type": "upscaler", "records": [{"_url": "https://images.example.com/a.jpg"}]}
JSON = {"Content-Type": "application/json"}
BUSY = {"detail": "The service is busy with other large requests. Try again shortly."}


@pytest.fixture
async def broker(start_broker: StartBroker) -> Broker:
    """One in which a workspace has room for two bodies of LARGEST."""
    return await start_broker(max_body_bytes=LARGEST)


@asynccontextmanager
async def begun(broker: Broker) -> AsyncIterator[str]:
    """A POST of LARGEST whose client waits to be told to send its body, and then goes; yields the first word."""
    reader, writer = await asyncio.open_connection(broker.http.base_url.host, broker.http.base_url.port)
    head = (
        f"POST {ROOT} HTTP/1.1\r\nHost: broker.example.com\r\nAuthorization: Token {broker.tenant.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {LARGEST}\r\nExpect: 100-continue\r\n\r\n"
    )
    try:
        writer.write(head.encode())
        yield (await reader.readline()).decode().strip()
    finally:
        writer.close()
        await writer.wait_closed()


async def posted(broker: Broker) -> httpx.Response:
    return await broker.http.post(ROOT, json=LARGE)


async def test_a_large_post_beyond_the_room_must_wait_and_others_are_served(broker: Broker) -> None:
    async def has_room() -> bool:
        return (await posted(broker)).status_code == 201

    other = await broker.store.tenant("other")
    async with begun(broker) as first, begun(broker) as second, begun(broker) as third:
        assert [first, second] == ["HTTP/1.1 100 Continue"] * 2
        assert third == "HTTP/1.1 503 Service Unavailable"
        answer = await posted(broker)
        assert (answer.status_code, answer.headers["retry-after"], answer.json()) == (503, "1", BUSY)
        answer = await broker.http.post(ROOT, content=in_parts(LARGE), headers=JSON)
        assert (answer.status_code, answer.json()) == (503, BUSY)
        assert (await broker.http.post(ROOT, json=LINKS)).status_code == 201
        answer = await broker.http.post(ROOT, json=LARGE, headers={"Authorization": f"Token {other.token}"})
        assert answer.status_code == 201
    await until(has_room)


async def test_every_answer_gives_back_what_its_post_held(broker: Broker) -> None:
    """Bodies whose length is not told hold what comes."""
    records = LARGE["records"]
    endings = {
        201: LARGE,
        400: LARGE | {"records": [*records, {"_base64": "?"}]},
        403: LARGE | {"workspace": "2e9b43f2-61be-4aaa-8a6a-a74fc0f80b57"},
        413: LARGE | {"records": records * 2},
    }
    for code, body in endings.items():
        codes = [(await broker.http.post(ROOT, content=in_parts(body), headers=JSON)).status_code for _ in range(3)]
        assert codes == [code] * 3
    assert (await posted(broker)).status_code == 201


async def in_parts(body: dict[str, Any]) -> AsyncIterator[bytes]:
    raw = json.dumps(body).encode()
    for at in range(0, len(raw), SMALL):
        yield raw[at : at + SMALL]
