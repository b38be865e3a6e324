"""PostgreSQL as the broker uses it: one writing connection a process, a small pool for reads."""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import Connection, NullPool
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from broker.store.writer import Work

READERS = 8
CONNECT_SECONDS = 5
ANSWER_SECONDS = 10
"""A server that has been stopped or cannot be reached any more is given up after this long."""
LOCK_MS = 5_000
"""How long a statement waits for somebody's lock; when this is over, it is certainly rolled back."""
PLANNING = {"random_page_cost": "1.1", "plan_cache_mode": "force_custom_plan"}
"""For a disk without a head to move, and by what is asked for. By the server's own ideas, a page of a list is read with
all other workspaces' rows between its own, as those lie side by side and any range of numbers is held to be small."""
FROZEN_MS = 4_000
"""A process that was frozen amid a transaction keeps others from its rows for no longer than this. It is less than
LOCK_MS and the writer's patience, so that whoever waits for these rows gets its turn."""


class PostgresqlSession:
    """The writing connection of one process, kept from one write to the next: to take it out of a pool each time and
    give it back costs as much as the INSERT of a POST's group. What fails takes its connection along.

    Commits are synchronous whatever the server's default is, and flushed: its own end would undo what processes of
    other machines go on with. A single statement is a transaction by itself.
    """

    def __init__(self, url: URL) -> None:
        self._engine = create_async_engine(
            url,
            poolclass=NullPool,
            hide_parameters=True,
            connect_args={
                "timeout": CONNECT_SECONDS,
                "command_timeout": ANSWER_SECONDS,
                "server_settings": {
                    "synchronous_commit": "on",
                    "random_page_cost": PLANNING["random_page_cost"],
                    "lock_timeout": str(LOCK_MS),
                    "idle_in_transaction_session_timeout": str(FROZEN_MS),
                    "application_name": "broker writer",
                },
            },
        )
        self._connection: AsyncConnection | None = None

    async def transact(self, work: Work, *, brief: bool = False, flush: bool = True, single: bool = False) -> list[Any]:
        connection = await self._take()
        try:
            results = await connection.run_sync(partial(_transact, work, single))
        except BaseException:
            await _drop(connection)
            raise
        self._connection = connection
        return results

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
        await self._engine.dispose()

    async def _take(self) -> AsyncConnection:
        """The one that is kept, unless its server has closed it meanwhile, as one that was started again has."""
        kept, self._connection = self._connection, None
        if kept is not None and _is_closed(kept):
            await _drop(kept)
            kept = None
        return kept or await self._engine.connect()


def _is_closed(connection: AsyncConnection) -> bool:
    assert connection.sync_connection is not None
    driver: Any = connection.sync_connection.connection.driver_connection
    return bool(driver.is_closed())


def _transact(work: Work, single: bool, connection: Connection) -> list[Any]:
    driver: Any = connection.connection.dbapi_connection
    driver.autocommit = single  # of a group after the other; an engine of its own for each would take two connections
    with connection.begin():
        return work(connection)


async def _drop(connection: AsyncConnection) -> None:
    """Without a word to the server, which may not answer."""
    if not connection.invalidated:
        pooled = await connection.get_raw_connection()
        if pooled.driver_connection is not None:
            pooled.driver_connection.terminate()
        await connection.invalidate()
    await connection.close()


def reading_engine(url: URL) -> AsyncEngine:
    """A pool for reads; a connection that died meanwhile is replaced before it is used."""
    return create_async_engine(
        url,
        pool_size=READERS,
        max_overflow=0,
        hide_parameters=True,
        pool_timeout=CONNECT_SECONDS,
        pool_pre_ping=True,
        isolation_level="AUTOCOMMIT",
        connect_args={
            "timeout": CONNECT_SECONDS,
            "command_timeout": ANSWER_SECONDS,
            "server_settings": {
                "application_name": "broker reader",
                "default_transaction_read_only": "on",
                **PLANNING,
            },
        },
    )
