"""SQLite files that may not grow: a web process refuses, a worker gives back, and both go on once there is room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from broker.store.tables import BatchRow, ResultRow, table
from tests.integration.net.servers import Web, reply
from tests.integration.running import (
    ROOT,
    Broker,
    Store,
    in_base64,
    photograph,
    run_broker,
    run_worker,
    settings_for,
    until,
)

_batches, _results = table(BatchRow), table(ResultRow)
PICTURE = photograph("chelsea-face.webp")
WORD = "x" * 200_000
"""A batch's row that holds it, and a result that does, need far more pages than lie unused in the file."""
BODY = {"type": "hostile", "endpoint": "echo", "records": [{"_base64": in_base64(PICTURE), "word": WORD}]}
MOST_PAGES = 2**30


@asynccontextmanager
async def full(store: Store) -> AsyncIterator[None]:
    """The writing connection of one process may not add a page to the file. 1: as many as there are."""
    await store.change(text("PRAGMA max_page_count = 1"))
    try:
        yield
    finally:
        await store.change(text(f"PRAGMA max_page_count = {MOST_PAGES}"))


@pytest.fixture
async def broker(hostile: Path, plain_logs: None, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Broker]:
    async with run_broker(settings_for(tmp_path, sqlite_url)) as broker:
        yield broker


async def test_post_that_a_full_database_cannot_take_is_refused_and_accepted_once_there_is_room(
    broker: Broker,
) -> None:
    key = {"Idempotency-Key": "the-same-POST"}
    async with full(broker.store):
        for headers in (key, key, {}):
            answer = await broker.http.post(ROOT, json=BODY, headers=headers)
            assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
            assert list(answer.json()) == ["detail"]
        assert (await broker.http.get(ROOT)).json()["count"] == 0
        assert await broker.store.rows(select(_batches.c.id)) == []
    answers = [await broker.http.post(ROOT, json=BODY, headers=key) for _ in range(2)]
    (stored,) = await broker.store.rows(select(_batches.c.id))
    assert [(answer.status_code, answer.json()["id"]) for answer in answers] == [(201, stored.id)] * 2


async def test_results_that_a_full_database_cannot_take_are_stored_once_there_is_room_and_no_crash_is_counted(
    broker: Broker, sqlite_url: str, tmp_path: Path
) -> None:
    """Giving back changes the row, which is as large: only the heartbeat, on its own connection, can do that.

    Another batch, which nobody serves here, has taken the pages that the claim left unused.
    """
    is_full = asyncio.Event()

    async def picture(writer: asyncio.StreamWriter) -> None:
        await is_full.wait()
        writer.write(reply(200, PICTURE))

    async def claimed() -> bool:
        return images.hits("/a.webp") > 0

    async def given_back() -> bool:
        return bool((await broker.store.row(this)).status == "CREATED")

    async with (
        Web(answers={"/a.webp": [picture]}).listen("127.0.0.1") as images,
        run_worker(settings_for(tmp_path, sqlite_url), ["hostile"]) as worker,
    ):
        id = (await broker.post({**BODY, "records": [{"_url": images.url("/a.webp"), "word": WORD}]}))["id"]
        this = select(_batches).where(_batches.c.id == id)
        await until(claimed)
        await broker.post({**BODY, "type": "hostile-slow"})
        async with full(Store(worker.work.core)):
            is_full.set()
            await until(given_back)
            assert await broker.store.rows(select(_results)) == []
        await broker.store.change(update(_batches).values(due=0))
        (record,) = (await broker.done(id))["response"]["records"]
    assert record["echo"]["word"] == WORD
    batch = await broker.store.row(this)
    assert (batch.outcome, batch.crashes, batch.lease_seq) == ("succeeded", 0, 2)
