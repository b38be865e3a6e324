"""Caretakers look by themselves, again and again, also after a look that failed."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.bootstrap.caretakers import running
from broker.media.blobs import Blobs, input_key, open_blobs
from broker.store.database import Database
from broker.work.orphans import Orphans
from broker.work.retention import Retention
from broker.work.unserved import Unserved
from tests.integration.running import until
from tests.integration.store.ended import DAY, HOUR, ended, id_from
from tests.integration.store.rows import accept, execute, select

SOON = 0.02
TURNS = 3


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return open_blobs("", tmp_path)


@contextmanager
def away(blobs: Blobs) -> Iterator[None]:
    """A blob store whose disk is not there."""
    assert blobs.folder is not None
    blobs.folder.rename(blobs.folder.with_name("away"))
    yield
    blobs.folder.with_name("away").rename(blobs.folder)


async def next_turn(database: Database) -> None:
    """As if so much time had gone by that every chore is due again."""
    await execute(database, "DELETE FROM chores")


async def told(logs: list[MutableMapping[str, Any]], event: str) -> None:
    """Until an event is logged, which is then forgotten."""

    async def seen() -> bool:
        return any(line["event"] == event for line in logs)

    await until(seen)
    logs.clear()


async def test_what_is_over_age_goes_at_every_turn(database: Database, workspace_id: str, blobs: Blobs) -> None:
    async def none_left() -> bool:
        return await select(database, "SELECT id FROM batches") == []

    retention = Retention(database, blobs, input_ms=DAY, output_ms=DAY, batch_ms=DAY, pause_seconds=SOON)
    with capture_logs() as logs:
        async with running(retention.run):
            with away(blobs):
                await ended(database, workspace_id, ago_ms=DAY + HOUR)
                await next_turn(database)
                await told(logs, "retention.failed")
            for _ in range(TURNS):
                await ended(database, workspace_id, ago_ms=DAY + HOUR)
                await next_turn(database)
                await until(none_left)


async def test_orphans_are_searched_for_at_every_turn(database: Database, workspace_id: str, blobs: Blobs) -> None:
    async def none_left() -> bool:
        return [key async for keys in blobs.batch_keys() for key in keys] == []

    with capture_logs() as logs:
        async with running(Orphans(database, blobs, SOON).run):
            with away(blobs):
                await next_turn(database)
                await told(logs, "orphans.failed")
            for _ in range(TURNS):
                await blobs.put(input_key(workspace_id, id_from(2 * HOUR), 0), b"picture")
                await next_turn(database)
                await until(none_left)


async def test_operator_is_told_of_batches_that_nobody_takes_at_every_turn(
    database: Database, workspace_id: str
) -> None:
    await accept(database, workspace_id)
    await execute(database, "UPDATE batches SET due = 0")
    with capture_logs() as logs:
        async with running(Unserved(database, SOON).run):
            for _ in range(TURNS):
                await next_turn(database)
                await told(logs, "type.unserved")
