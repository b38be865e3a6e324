"""Details are of one state, though a batch runs again or is deleted between the statements that read it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.util import await_only

from broker.batches import Status
from broker.errors import NotFound
from tests.integration.usecases.scene import Scene


@contextmanager
def between(reader: Scene, happens: Callable[[], Awaitable[Any]]) -> Iterator[None]:
    """Let something happen once, right after the reader's next statement, before it sends another."""
    engine = reader.broker.core.database.engine.sync_engine
    open_calls = [happens]

    def meanwhile(*_: object) -> None:
        if open_calls:
            await_only(open_calls.pop()())

    event.listen(engine, "after_cursor_execute", meanwhile)
    try:
        yield
    finally:
        event.remove(engine, "after_cursor_execute", meanwhile)
    assert not open_calls


async def test_batch_that_runs_again_meanwhile_is_shown_as_waiting(scene: Scene, second: Scene) -> None:
    id = await scene.done(500, 200)
    with between(scene, lambda: second.broker.web.retry(id, scene.workspaces)):
        batch, results = await scene.broker.web.query.details(id, "ximilar", scene.workspaces)
    assert (batch.status, batch.run, results) == (Status.CREATED, 2, [])


async def test_batch_that_ran_again_to_its_end_meanwhile_is_shown_in_its_new_run(scene: Scene, second: Scene) -> None:
    id = await scene.done(500, 200)

    async def run_again() -> None:
        await second.broker.web.retry(id, scene.workspaces)
        await second.finish_waiting(404)

    with between(scene, run_again):
        batch, results = await scene.broker.web.query.details(id, "ximilar", scene.workspaces)
    assert (batch.status, batch.run, [one.code for one in results]) == (Status.DONE, 2, [404, 200])


async def test_batch_that_is_deleted_meanwhile_is_not_found(scene: Scene, second: Scene) -> None:
    id = await scene.done(500)
    with between(scene, lambda: second.broker.web.delete(id, scene.workspaces)), pytest.raises(NotFound):
        await scene.broker.web.query.details(id, "ximilar", scene.workspaces)
