"""The sweep: it frees only what it has watched without a gap for a whole lease, and forgets nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from sqlalchemy import event
from structlog.testing import capture_logs

from broker.batches import new_id
from broker.bootstrap.caretakers import new_sweep
from broker.bootstrap.core import Core, open_core
from broker.complete import PARENTS, Complete
from broker.queue.connection import connect, disconnect, queue_name
from broker.queue.nudge import Nudger
from broker.store.children import Expansion, NewChild, add_children
from broker.store.crashes import GIVEN_UP_CODE
from broker.store.database import Database, open_session
from broker.store.ends import finish_batches
from broker.store.workspaces import NewWorkspace, insert_workspaces
from broker.store.writer import Session, Work, Writer
from broker.work.sweep import Sweep
from tests.integration.running import settings_for, until
from tests.integration.store.clocks import Clock, settable_clock
from tests.integration.store.rows import EXPIRED, TYPE, accept, claim, execute, finish, new_batch, result, select

LEASE = 600.0
STEP = 150.0
"""Seconds between two looks, less than a third of a lease."""


class Line:
    """The way to the database, which a test cuts."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.cut = False

    async def transact(self, work: Work, *, brief: bool = False, flush: bool = True, single: bool = False) -> list[Any]:
        if self.cut:
            raise ConnectionError("the line is cut")
        return await self._session.transact(work, brief=brief, flush=flush, single=single)

    async def close(self) -> None:
        await self._session.close()


@dataclass(frozen=True)
class Scene:
    """A sweep that looks when the test says so, at a time that the test sets."""

    sweep: Sweep
    complete: Complete
    database: Database
    clock: Clock
    line: Line
    workspace: str

    async def leave_behind(self) -> None:
        """A batch whose worker died: its lease is over."""
        await accept(self.database, self.workspace)
        assert len(await claim(self.database, lease_ms=EXPIRED)) == 1

    async def freed(self, *, after: float) -> bool:
        """Whether the only batch that is left behind waits again after looks for so many seconds."""
        while after > 0:
            step = min(after, STEP)
            await self.clock.set_forward(step)
            await self.sweep.once()
            after -= step
        return await select(self.database, "SELECT id FROM batches WHERE status = 'PROCESSING'") == []


@pytest.fixture
async def core(plain_logs: None, database_url: str, tmp_path: Path, valkey_url: str) -> AsyncIterator[Core]:
    settings = settings_for(tmp_path, database_url, redis_url=valkey_url, lease_seconds=LEASE)
    async with open_core(settings) as core:
        yield core


@pytest.fixture
async def scene(core: Core, database_url: str, tmp_path: Path) -> AsyncIterator[Scene]:
    line = Line(open_session(database_url, tmp_path))
    writer = Writer(line)
    database = replace(core.database, writer=writer)
    complete = Complete(database, core.vault, core.links, core.bell)
    sweep = new_sweep(replace(core, database=database), complete)
    async with settable_clock(writer) as clock:
        workspace = NewWorkspace(id=new_id(), name="default", secrets=b"box")
        assert await writer.write(insert_workspaces, workspace)
        yield Scene(sweep, complete, database, clock, line, workspace.id)
    await writer.aclose()


async def test_a_sweep_that_begins_frees_nothing_before_it_has_watched_for_a_whole_lease(scene: Scene) -> None:
    await scene.leave_behind()
    await scene.sweep.once()
    assert not await scene.freed(after=0)
    assert not await scene.freed(after=LEASE - 60)
    assert await scene.freed(after=60)
    await scene.leave_behind()
    assert await scene.freed(after=1)


async def test_a_sweep_adds_up_what_statements_told_the_tallies(scene: Scene) -> None:
    await scene.leave_behind()
    await scene.sweep.once()
    assert await select(scene.database, "SELECT part, created, processing FROM tallies") == [(0, 0, 1)]


async def test_a_sweep_reads_only_where_something_waits(scene: Scene) -> None:
    reads: list[object] = []
    event.listen(scene.database.engine.sync_engine, "checkout", lambda *connection: reads.append(connection))
    await scene.sweep.once()
    assert not reads
    await accept(scene.database, scene.workspace)
    await scene.sweep.once()
    assert reads


async def test_a_long_look_for_what_is_overdue_is_not_taken_again_at_once_and_is_taken_again(scene: Scene) -> None:
    """However many batches of a paused workspace are passed over, by each process that sweeps."""
    looks: list[str] = []

    def slow(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        looks.append(statement)
        time.sleep(0.03)

    await accept(scene.database, scene.workspace)
    event.listen(scene.database.engine.sync_engine, "before_cursor_execute", slow)
    for _ in range(3):
        await scene.sweep.once()
    assert len(looks) == 1

    async def looked_again() -> bool:
        await scene.sweep.once()
        return len(looks) == 2

    await until(looked_again)


async def test_a_look_that_comes_late_frees_nothing_and_begins_the_watch_anew(scene: Scene) -> None:
    """The workers may have been kept from the database as well, so they get a whole lease to come back."""
    await scene.sweep.once()
    assert await scene.freed(after=LEASE)
    await scene.leave_behind()
    await scene.clock.set_forward(LEASE / 3 + 1)
    await scene.sweep.once()
    assert not await scene.freed(after=LEASE - 60)
    assert await scene.freed(after=60)


async def test_a_clock_that_was_set_back_begins_the_watch_anew(scene: Scene) -> None:
    """It was ahead by hours; nobody's batch waits as long for its rescue."""
    await scene.leave_behind()
    await scene.clock.set_forward(10 * LEASE)
    await scene.sweep.once()
    assert await scene.freed(after=LEASE)
    await scene.clock.set_forward(-11 * LEASE)
    await scene.leave_behind()
    await scene.sweep.once()
    assert not await scene.freed(after=LEASE - 60)
    assert await scene.freed(after=60)


async def test_a_look_that_the_database_refused_begins_the_watch_anew(scene: Scene) -> None:
    await scene.sweep.once()
    assert await scene.freed(after=LEASE)
    scene.line.cut = True
    with capture_logs() as logs:
        running = asyncio.create_task(scene.sweep.run())

        async def failed() -> bool:
            return any(line["event"] == "sweep.failed" for line in logs)

        await until(failed)
        running.cancel()
        await asyncio.wait({running})
    scene.line.cut = False
    await scene.leave_behind()
    await scene.sweep.once()
    assert not await scene.freed(after=LEASE - 60)
    assert await scene.freed(after=60)


async def test_two_pauses_of_the_sweep_are_no_gap_however_short_a_lease_is(scene: Scene) -> None:
    sweep = Sweep(scene.database, Nudger(None), scene.complete, lease_seconds=1, max_crashes=3)
    await scene.leave_behind()

    async def freed() -> bool:
        await sweep.once()
        await scene.clock.set_forward(1.2)
        return await scene.freed(after=0)

    await until(freed)


async def test_a_parent_whose_last_child_is_done_is_ended_by_the_sweep(scene: Scene) -> None:
    """The process that ended the child went away before it looked at the parent."""
    write = scene.database.writer.write
    (parent,) = await accept(scene.database, scene.workspace, records="[]", size=0)
    (listing,) = await claim(scene.database)
    children = [NewChild(place, new_batch(scene.workspace)) for place in range(2)]
    assert await write(add_children, Expansion(listing.lease, tuple(children), None))
    ends = [structs.replace(finish(child, result()), parent=parent) for child in await claim(scene.database)]
    standing = f"SELECT status, outcome FROM batches WHERE id = '{parent}'"
    for end in ends:
        await scene.sweep.once()
        assert await select(scene.database, standing) == [("PROCESSING", None)]
        assert await write(finish_batches, end)
    await scene.sweep.once()
    assert await select(scene.database, standing) == [("DONE", "succeeded")]


async def test_parents_whose_end_cannot_be_made_hinder_neither_others_nor_the_nudges(
    scene: Scene, valkey_url: str
) -> None:
    """The boxes of their webhooks cannot be opened, e.g. because a key was taken away; they fill a whole sweep."""
    bad = sorted(await accept(scene.database, scene.workspace, PARENTS, webhook=b"no box", records="[]", size=0))
    good = sorted(await accept(scene.database, scene.workspace, PARENTS + 1, records="[]", size=0))
    for parent in await claim(scene.database, 2 * PARENTS + 1):
        assert await scene.database.writer.write(add_children, Expansion(parent.lease, (), None))
    (overdue,) = await accept(scene.database, scene.workspace)
    await execute(scene.database, "UPDATE batches SET due = due - 1000000 WHERE id = :id", id=overdue)
    redis = connect(valkey_url)

    async def rung() -> bool:
        return set(await redis.zrange(queue_name(TYPE), 0, -1)) == {f"nudge:{overdue}".encode()}

    done = "SELECT id FROM batches WHERE status = 'DONE' ORDER BY id"
    with capture_logs() as logs:
        for sweep, ended in enumerate((0, PARENTS, PARENTS + 1, PARENTS + 1)):
            await scene.sweep.once()
            assert await select(scene.database, done) == [(id,) for id in good[:ended]], sweep
        await until(rung)
    await disconnect(redis)
    failed = [line["batch"] for line in logs if line["event"] == "parent.failed"]
    assert failed == bad * 2  # in the first sweep, and in the fourth, which begins anew


async def test_what_was_rescued_and_what_is_overdue_is_nudged_for_and_nothing_else(
    scene: Scene, valkey_url: str
) -> None:
    await scene.leave_behind()
    ((rescued,),) = await select(scene.database, "SELECT id FROM batches")
    await scene.sweep.once()
    await scene.clock.set_forward(STEP)
    overdue, later = await accept(scene.database, scene.workspace, 2)
    await execute(scene.database, "UPDATE batches SET due = due - 1000000 WHERE id = :id", id=overdue)
    await execute(scene.database, "UPDATE batches SET due = due + 1000000 WHERE id = :id", id=later)
    redis = connect(valkey_url)

    async def rung() -> set[bytes]:
        return set(await redis.zrange(queue_name(TYPE), 0, -1))

    await scene.sweep.once()
    assert await until(rung) == {f"nudge:{overdue}".encode()}
    await redis.flushall()
    assert await scene.freed(after=LEASE)

    async def both() -> bool:
        await scene.sweep.once()
        return await rung() == {f"nudge:{id}".encode() for id in (overdue, rescued)}

    await until(both)
    await disconnect(redis)


async def test_crashes_are_counted_and_told_and_so_is_a_record_that_used_them_up(scene: Scene) -> None:
    """The second batch was claimed and abandoned under the eyes of the sweep, for the third time."""
    await scene.leave_behind()
    await scene.sweep.once()
    await accept(scene.database, scene.workspace)
    first, second = [id for (id,) in await select(scene.database, "SELECT id FROM batches ORDER BY id")]
    await execute(scene.database, "UPDATE batches SET crashes = 2 WHERE id = :id", id=second)
    assert len(await claim(scene.database, lease_ms=int(LEASE * 1000))) == 1
    with capture_logs() as logs:
        assert not await scene.freed(after=LEASE - 60)
        assert await scene.freed(after=61)
    told = [line for line in logs if line["event"] in ("batch.rescued", "record.given_up")]
    rescued = {"event": "batch.rescued", "type": TYPE, "log_level": "warning"}
    assert told == [
        {**rescued, "batch": first, "crashes": 1},
        {**rescued, "batch": second, "crashes": 3},
        {"event": "record.given_up", "batch": second, "place": 0, "log_level": "error"},
    ]
    assert await select(scene.database, "SELECT batch_id, code FROM results") == [(second, GIVEN_UP_CODE)]
