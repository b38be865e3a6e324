"""Reads, after a run, the database, the blob folder and the API."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.batches import Result, Status
from broker.deliveries import State
from broker.store.database import Database
from broker.store.rows import load_records, result_of
from broker.store.tables import AttemptRow, BatchRow, DeliveryRow, PictureRow, ResultRow, table
from broker.webhooks.post import TIMED_OUT
from tests.acceptance.broker import ROOT
from tests.torture.client import Client, open_client
from tests.torture.evidence import AttemptSeen, BatchSeen, DeliverySeen, number_in
from tests.torture.fleet import Slot

AT_ONCE = 8
LOOK_SECONDS = 0.25
_batches, _pictures, _results = table(BatchRow), table(PictureRow), table(ResultRow)
_deliveries, _attempts = table(DeliveryRow), table(AttemptRow)


async def settle(database: Database, patience: float) -> bool:
    """Wait until every batch is DONE and no webhook is owed; False when nothing has moved for `patience` seconds."""
    seen: tuple[Any, ...] = ()
    moved = time.monotonic()
    while time.monotonic() < moved + patience:
        async with database.reading() as connection:
            now = await _standing(connection)
        if now[:2] == (0, 0):
            return True
        if now != seen:
            seen, moved = now, time.monotonic()
        await asyncio.sleep(LOOK_SECONDS)
    return False


async def _standing(connection: AsyncConnection) -> tuple[Any, ...]:
    """Open batches, owed webhooks, and sums that move when anything does."""
    open = select(func.count()).select_from(_batches).where(_batches.c.status != Status.DONE)
    owed = select(func.count()).select_from(_deliveries).where(_deliveries.c.state == State.PENDING)
    leases, attempts = select(func.sum(_batches.c.lease_seq)), select(func.sum(_deliveries.c.attempts))
    stored = select(func.count()).select_from(_results)
    return tuple([await connection.scalar(question) for question in (open, owed, leases, attempts, stored)])


async def batches_of(connection: AsyncConnection) -> dict[str, BatchSeen]:
    pictures = {(row.batch_id, row.position): row.data for row in await connection.execute(select(_pictures))}
    rows = await connection.execute(select(_batches))
    return {
        row.id: BatchSeen(
            id=row.id,
            number=number_in(row.extra),
            status=row.status,
            outcome=row.outcome,
            run=row.run,
            webhook=row.webhook is not None,
            blobs=tuple(record.blob for record in load_records(row.records) if record.blob),
            created=row.created,
            finished=row.finished,
            small={
                place: pictures.get((row.id, place))
                for place, record in enumerate(load_records(row.records))
                if record.small
            },
        )
        for row in rows
    }


async def results_of(connection: AsyncConnection) -> dict[str, list[Result]]:
    """Batch id -> its results, in the order of its records."""
    found: defaultdict[str, list[Result]] = defaultdict(list)
    for row in await connection.execute(select(_results).order_by(_results.c.batch_id, _results.c.position)):
        found[row.batch_id].append(result_of(row))
    return dict(found)


async def deliveries_of(connection: AsyncConnection) -> list[DeliverySeen]:
    rows = await connection.execute(select(_deliveries))
    return [DeliverySeen(row.id, row.batch_id, row.run, row.event, row.state, row.body) for row in rows]


async def attempts_of(connection: AsyncConnection) -> list[AttemptSeen]:
    rows = await connection.execute(select(_attempts))
    return [
        AttemptSeen(row.delivery_id, row.started, _was_good(row), row.duration_ms, timed_out=row.error == TIMED_OUT)
        for row in rows
    ]


def _was_good(attempt: Row[Any]) -> bool | None:
    if attempt.status_code is None:
        return None if attempt.error is None else False
    return bool(200 <= attempt.status_code < 300)


def files_in(folder: Path) -> dict[str, Path]:
    """Key -> file of every blob."""
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


async def details_of(ids: Sequence[str], webs: Sequence[Slot], token: str) -> dict[str, dict[str, Any]]:
    """Batch id -> what the API says about it; an answer other than 200 stands as `{"error": …}`."""
    found: dict[str, dict[str, Any]] = {}
    waiting = iter(ids)

    async def ask(client: Client) -> None:
        for id in waiting:
            answer = (await client.get(f"{ROOT}/{id}")).response
            ok = answer.status_code == httpx.codes.OK
            found[id] = answer.json() if ok else {"error": f"{answer.status_code} {answer.text[:200]}"}

    async with open_client(webs, token) as client, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(ask(client))
    return found
