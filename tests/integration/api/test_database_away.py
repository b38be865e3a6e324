"""A POST while the database cannot commit: 503, and a 201 only for what is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy import make_url, select

from broker.store.tables import BatchRow, table
from tests.databases import PostgresServer
from tests.integration.running import ROOT, Broker, run_broker, settings_for

BODY = {"type": "upscaler", "records": [{"_url": "https://images.example.com/a.jpg"}]}
SMALL = BODY | {"records": [{"_base64": "aGk="}]}
BEGIN, COMMIT = b"BEGIN", b"COMMIT;"
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
    """A proxy before PostgreSQL that delivers what has `loses` in it, and loses its answer and the connection, once.

    sent: all that was delivered.
    """

    server: Path
    loses: bytes | None = None
    sent: bytearray = field(default_factory=bytearray)

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
                self.sent += data
                if self.loses and self.loses in data:
                    self.loses = None
                    answers.cancel()
                    await asyncio.wait({answers})
                    to_server.write(data)
                    await from_server.read(65536)  # it is done now
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
        line.loses = COMMIT
        assert_refused(await broker.http.post(ROOT, json=BODY, headers={"Idempotency-Key": "k"}))
        (unanswered,) = {*await stored(broker)} - {first}
        answers = [await broker.http.post(ROOT, json=BODY, headers={"Idempotency-Key": "k"}) for _ in range(2)]
        assert [(answer.status_code, answer.json()["id"]) for answer in answers] == [(201, unanswered)] * 2
        assert sorted(await stored(broker)) == sorted([first, unanswered])


async def test_posts_without_keys_have_no_transaction_around_them(
    line: LossyLine, postgresql_url: str, tmp_path: Path
) -> None:
    url = make_url(postgresql_url).update_query_dict({"host": str(tmp_path)}).render_as_string(hide_password=False)
    keyed, other = {"Idempotency-Key": "k"}, {"Idempotency-Key": "other"}
    async with run_broker(settings_for(tmp_path, url)) as broker:
        for body, headers, expected in (
            (BODY, {}, 0),
            (BODY, keyed, 1),
            (SMALL, {}, 0),
            (SMALL, other, 1),
            (BODY, {}, 0),
        ):
            line.sent.clear()
            assert (await broker.http.post(ROOT, json=body, headers=headers)).status_code == 201
            assert (line.sent.count(BEGIN), line.sent.count(COMMIT)) == (expected, expected)


async def test_post_whose_insert_was_done_but_not_answered_is_refused_and_stored_all_the_same(
    line: LossyLine, postgresql_url: str, tmp_path: Path
) -> None:
    """Who wants it once sends a key (decision 0002)."""
    url = make_url(postgresql_url).update_query_dict({"host": str(tmp_path)}).render_as_string(hide_password=False)
    async with run_broker(settings_for(tmp_path, url)) as broker:
        for _ in range(2):  # prepares the statement, and sends it by its name from then on
            await broker.post(BODY)
        line.loses = b"images.example.com"
        assert_refused(await broker.http.post(ROOT, json=BODY))
        assert len(await stored(broker)) == 3
        await broker.post(BODY)
        assert len(await stored(broker)) == 4


async def until_the_server_sleeps(watcher: asyncpg.Connection) -> None:
    while not await watcher.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
        await watcher.execute("SELECT pg_stat_clear_snapshot()")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("amid", ["the last INSERT", "COMMIT"])
async def test_post_with_a_key_that_a_frozen_server_does_not_answer_is_refused_and_stored_once_when_it_is_repeated(
    own_server: PostgresServer, tmp_path: Path, amid: str
) -> None:
    """Without a COMMIT nothing is stored; one that had been sent may be done once the server goes on."""
    url = own_server.url(own_server.create())
    initially = "DEFERRED" if amid == "COMMIT" else "IMMEDIATE"
    keyed = {"Idempotency-Key": "k"}
    async with run_broker(settings_for(tmp_path, url)) as broker:
        first, watcher = (await broker.post(BODY))["id"], await asyncpg.connect(url)
        await watcher.execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(3); RETURN NULL; END $$; "
            "CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON pictures "
            f"DEFERRABLE INITIALLY {initially} FOR EACH ROW EXECUTE FUNCTION dawdle()"
        )
        under_way = asyncio.create_task(broker.http.post(ROOT, json=SMALL, headers=keyed))
        await until_the_server_sleeps(watcher)
        with own_server.frozen():
            assert_refused(await under_way)
        await watcher.execute("DROP TRIGGER dawdle ON pictures")  # once that session is over
        done = {*await stored(broker)} - {first}
        assert amid == "COMMIT" or not done
        answers = [await broker.http.post(ROOT, json=SMALL, headers=keyed) for _ in range(2)]
        (only,) = {*await stored(broker)} - {first}
        assert [(answer.status_code, answer.json()["id"]) for answer in answers] == [(201, only)] * 2
        assert done <= {only}
        await watcher.close()
