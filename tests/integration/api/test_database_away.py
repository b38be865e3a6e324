"""A POST while the database cannot commit: 503, and a 201 only for what is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from sqlalchemy import make_url, select

from broker.store.tables import BatchRow, table
from tests.databases import PostgresServer
from tests.integration.running import ROOT, Broker, run_broker, settings_for

BODY = {"type": "upscaler", "records": [{"_url": "https://images.example.com/a.jpg"}]}
SOCKET = ".s.PGSQL.5432"
_batches = table(BatchRow)


def assert_refused(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) >= 1
    assert list(answer.json()) == ["detail"]


async def stored(broker: Broker) -> list[str]:
    return [str(row.id) for row in await broker.store.rows(select(_batches.c.id))]


async def test_post_is_refused_while_the_database_is_locked_and_not_done_afterwards(broker: Broker) -> None:
    async with broker.store.locked():
        for answer in await asyncio.gather(*[broker.http.post(ROOT, json=BODY) for _ in range(3)]):
            assert_refused(answer)
    accepted = await broker.post(BODY)
    assert await stored(broker) == [accepted["id"]]


@dataclass
class LossyLine:
    """A proxy before PostgreSQL that, once armed, delivers a COMMIT, and loses its answer and the connection."""

    server: Path
    armed: bool = False

    @asynccontextmanager
    async def listen(self, folder: Path) -> AsyncIterator[None]:
        listening = await asyncio.start_unix_server(self._connected, folder / SOCKET)
        async with listening:
            yield

    async def _connected(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(str(self.server / SOCKET))
        answers = asyncio.create_task(_pass_on(from_server, to_client))
        try:
            while data := await from_client.read(65536):
                if self.armed and b"COMMIT;" in data:
                    self.armed = False
                    answers.cancel()
                    await asyncio.wait({answers})
                    to_server.write(data)
                    await from_server.read(65536)  # the commit is done now
                    return
                to_server.write(data)
        finally:
            answers.cancel()
            to_server.close()
            to_client.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@pytest.fixture
async def line(postgresql_url: str, postgres_server: PostgresServer, tmp_path: Path) -> AsyncIterator[LossyLine]:
    line = LossyLine(Path(str(make_url(postgresql_url).query["host"])))
    async with line.listen(tmp_path):
        yield line


async def test_post_whose_commit_was_done_but_not_answered_is_safe_to_repeat_with_its_key(
    line: LossyLine, postgresql_url: str, tmp_path: Path
) -> None:
    url = make_url(postgresql_url).update_query_dict({"host": str(tmp_path)}).render_as_string(hide_password=False)
    async with run_broker(settings_for(tmp_path, url)) as broker:
        await broker.post(BODY)
        (first,) = await stored(broker)
        line.armed = True
        assert_refused(await broker.http.post(ROOT, json=BODY, headers={"Idempotency-Key": "k"}))
        (unanswered,) = {*await stored(broker)} - {first}
        answers = [await broker.http.post(ROOT, json=BODY, headers={"Idempotency-Key": "k"}) for _ in range(2)]
        assert [(answer.status_code, answer.json()["id"]) for answer in answers] == [(201, unanswered)] * 2
        assert sorted(await stored(broker)) == sorted([first, unanswered])
