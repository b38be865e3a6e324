"""What only PostgreSQL can do to us: lost backends, stopped and crashed servers, failovers."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, make_url, text

from broker.errors import Unavailable
from broker.store.batches import insert_batches
from broker.store.database import Database, open_database
from tests.databases import PostgresServer, run_aside
from tests.integration.running import PATIENCE
from tests.integration.store.rows import (
    TYPE,
    accept,
    execute,
    new_batch,
    new_workspace,
    select,
    stored,
)


@pytest.fixture
async def workspace(postgresql: Database) -> str:
    return await new_workspace(postgresql)


def name_of(url: str) -> str:
    return str(make_url(url).database)


def cut_off(server: PostgresServer, name: str) -> None:
    """End every session of a database, and wait until they are gone."""
    server.execute(f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'")


async def settings(database: Database, *names: str) -> list[Any]:
    def read(connection: Connection, items: Sequence[tuple[str, ...]]) -> list[list[Any]]:
        return [[connection.scalar(text(f"SHOW {name}")) for name in item] for item in items]

    return await database.writer.write(read, names)


async def test_commits_are_flushed_whatever_the_default_of_the_database_is(
    postgres_server: PostgresServer, postgresql_url: str, tmp_path: Path
) -> None:
    postgres_server.execute(f"ALTER DATABASE {name_of(postgresql_url)} SET synchronous_commit = off")
    database = open_database(postgresql_url, tmp_path)
    assert await settings(database, "synchronous_commit") == ["on"]
    await database.aclose()


async def test_readers_plan_by_what_they_ask_for_whatever_the_default_of_the_database_is(
    postgres_server: PostgresServer, postgresql_url: str, tmp_path: Path
) -> None:
    """A plan for any stretch, which a server makes after five looks, reads one with all workspaces' rows."""
    for setting in ("plan_cache_mode = force_generic_plan", "random_page_cost = 4"):
        postgres_server.execute(f"ALTER DATABASE {name_of(postgresql_url)} SET {setting}")
    database = open_database(postgresql_url, tmp_path)
    async with database.reading() as connection:
        found = [await connection.scalar(text(f"SHOW {name}")) for name in ("plan_cache_mode", "random_page_cost")]
    assert found == ["force_custom_plan", "1.1"]
    await database.aclose()


async def test_a_backend_lost_between_two_writes_costs_neither(
    postgresql: Database, postgresql_url: str, postgres_server: PostgresServer, workspace: str
) -> None:
    kept = await accept(postgresql, workspace, 3)
    await asyncio.to_thread(cut_off, postgres_server, name_of(postgresql_url))
    kept += await accept(postgresql, workspace, 3)
    assert await stored(postgresql) == set(kept)


async def test_a_backend_lost_under_a_group_costs_that_group_and_heals_without_reopening(
    postgresql: Database, postgresql_url: str, postgres_server: PostgresServer, workspace: str
) -> None:
    """The connection is found dead while the group is written: who wrote hears of it, the next goes to a new one."""
    kept = await accept(postgresql, workspace, 3)
    cut_off(postgres_server, name_of(postgresql_url))  # the event loop does not get to hear of it before it writes
    writes = [postgresql.writer.write(insert_batches, new_batch(workspace)) for _ in range(5)]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    kept += await accept(postgresql, workspace, 3)
    assert await stored(postgresql) == set(kept)


async def test_readers_do_not_notice_a_lost_backend(
    postgresql: Database, postgresql_url: str, postgres_server: PostgresServer
) -> None:
    await postgresql.ping()
    cut_off(postgres_server, name_of(postgresql_url))
    await postgresql.ping()


async def test_a_backend_lost_in_the_middle_of_a_write_writes_nothing(postgresql: Database, workspace: str) -> None:
    def write_and_die(connection: Connection, names: Sequence[str]) -> list[None]:
        for name in names:
            connection.execute(text("INSERT INTO instance_facts (name, value) VALUES (:name, '')"), {"name": name})
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return [None] * len(names)

    with pytest.raises(Unavailable):
        await postgresql.writer.write(write_and_die, "fact")
    assert await select(postgresql, "SELECT name FROM instance_facts") == []
    await accept(postgresql, workspace)


async def test_a_server_that_takes_no_connections_is_unavailable(
    postgresql: Database, postgresql_url: str, postgres_server: PostgresServer, workspace: str
) -> None:
    name = name_of(postgresql_url)
    postgres_server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    cut_off(postgres_server, name)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await accept(postgresql, workspace)
        with pytest.raises(Unavailable):
            await postgresql.ping()
    postgres_server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await accept(postgresql, workspace)
    await postgresql.ping()


async def test_a_server_that_became_a_read_only_replica_is_unavailable(
    postgresql: Database, postgresql_url: str, postgres_server: PostgresServer, workspace: str
) -> None:
    name = name_of(postgresql_url)
    postgres_server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    cut_off(postgres_server, name)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await accept(postgresql, workspace)
    await postgresql.ping()


@pytest.mark.parametrize("code", ["53100", "53200", "57P01", "58030", "XX001"])
async def test_a_server_in_trouble_fails_the_group_once_and_is_not_asked_row_by_row(
    postgresql: Database, code: str
) -> None:
    groups: list[int] = []

    def trouble(connection: Connection, items: Sequence[int]) -> list[int]:
        groups.append(len(items))
        connection.execute(text(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$"))
        return list(items)

    outcomes = await asyncio.gather(*[postgresql.writer.write(trouble, n) for n in range(5)], return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    assert groups == [5]
    await postgresql.ping()


async def test_a_lock_that_somebody_holds_is_waited_for_a_while_and_what_waited_is_never_done_later(
    postgresql: Database, postgresql_url: str, workspace: str
) -> None:
    refused = [new_batch(workspace) for _ in range(4)]
    stranger = await asyncpg.connect(postgresql_url)
    async with stranger.transaction():
        await stranger.execute("LOCK TABLE batches IN EXCLUSIVE MODE")
        for some in (refused[:2], refused[2:]):
            outcomes = await asyncio.gather(
                *[postgresql.writer.write(insert_batches, batch) for batch in some], return_exceptions=True
            )
            assert [type(outcome) for outcome in outcomes] == [Unavailable] * 2
    await stranger.close()
    kept = await accept(postgresql, workspace)
    assert await stored(postgresql) == set(kept)


async def test_a_statement_that_the_server_cancels_is_an_outage(postgresql: Database, workspace: str) -> None:
    def too_long(connection: Connection, seconds: Sequence[float]) -> list[None]:
        connection.execute(text("SET LOCAL statement_timeout = 10"))
        return [connection.execute(text("SELECT pg_sleep(:n)"), {"n": number}).scalar() for number in seconds]

    with pytest.raises(Unavailable):
        await postgresql.writer.write(too_long, 60.0)
    await accept(postgresql, workspace)


async def test_a_frozen_server_is_given_up_after_a_while_and_used_again_at_once(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    """Its connections stand; whoever has begun waits longer than those behind it, which are withdrawn.

    What a server was sent before it froze, it may do all the same once it goes on.
    """
    database = open_database(own_server.url(own_server.create()), tmp_path)
    workspace = await new_workspace(database)
    kept, sent = await accept(database, workspace), new_batch(workspace)
    await database.ping()
    with own_server.frozen():
        begun = asyncio.create_task(database.writer.write(insert_batches, sent))
        await asyncio.sleep(0.1)
        pinged = asyncio.create_task(database.ping())
        with pytest.raises(Unavailable):
            await accept(database, workspace)
        assert not begun.done()
        assert {type(end) for end in await asyncio.gather(begun, pinged, return_exceptions=True)} == {Unavailable}
    for _ in range(3):
        kept += await accept(database, workspace)
        await database.ping()
    assert await stored(database) - {sent.id} == set(kept)
    await database.aclose()


async def test_a_stopped_server_is_unavailable_and_its_return_is_noticed(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    database = open_database(own_server.url(own_server.create()), tmp_path)
    workspace = await new_workspace(database)
    kept = set(await accept(database, workspace, 3))
    for how in (signal.SIGINT, signal.SIGQUIT):
        own_server.stop(how)
        for _ in range(3):
            with pytest.raises(Unavailable):
                await accept(database, workspace)
            with pytest.raises(Unavailable):
                await database.ping()
        own_server.start()
        await database.ping()
        kept |= set(await accept(database, workspace, 3))
        assert await stored(database) == kept
    await database.aclose()


async def gone(url: str, backend: int) -> None:
    """Until the server has ended a session."""
    connection = await asyncpg.connect(url)
    async with asyncio.timeout(PATIENCE):
        while await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", backend):
            await asyncio.sleep(0.02)
    await connection.close()


async def test_a_process_frozen_amid_a_transaction_does_not_keep_its_rows(
    postgresql: Database, postgresql_url: str, workspace: str
) -> None:
    """Its server ends the transaction; when the process wakes, its write has failed and the next one works."""
    assert await settings(postgresql, "idle_in_transaction_session_timeout") == ["4s"]
    (id,) = await accept(postgresql, workspace)

    def freeze(connection: Connection, items: Sequence[str]) -> list[None]:
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 200"))
        backend = connection.scalar(text("SELECT pg_backend_pid()"))
        connection.execute(text("UPDATE batches SET type = 'frozen'"))
        run_aside(gone(postgresql_url, backend))  # the process is frozen meanwhile: its event loop stands still
        connection.execute(text("UPDATE batches SET type = 'thawed'"))
        return [None] * len(items)

    with pytest.raises(Unavailable):
        await postgresql.writer.write(freeze, "now")
    assert await select(postgresql, "SELECT id, type FROM batches") == [(id, TYPE)]
    await execute(postgresql, "UPDATE batches SET type = 'next'")
    assert await select(postgresql, "SELECT type FROM batches") == [("next",)]


async def test_who_waits_for_the_rows_of_a_frozen_process_gets_its_turn(
    postgresql: Database, postgresql_url: str, tmp_path: Path, workspace: str
) -> None:
    await accept(postgresql, workspace)
    holds, thaws = threading.Event(), threading.Event()

    def freeze(connection: Connection, items: Sequence[str]) -> list[None]:
        connection.execute(text("UPDATE batches SET type = 'frozen'"))
        holds.set()
        thaws.wait(PATIENCE)
        return [None] * len(items)

    async def frozen() -> None:
        database = open_database(postgresql_url, tmp_path)
        with pytest.raises(Unavailable):
            await database.writer.write(freeze, "now")
        await database.aclose()

    process = asyncio.create_task(asyncio.to_thread(asyncio.run, frozen()))
    await asyncio.to_thread(holds.wait, PATIENCE)
    await execute(postgresql, "UPDATE batches SET type = 'next'")
    thaws.set()
    await process
    assert await select(postgresql, "SELECT type FROM batches") == [("next",)]
