"""The invariants fail when they should: each kind of harm, done to the database behind the store's back, is noticed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from tests.stateful.accepting import Accepting
from tests.stateful.board import Board
from tests.stateful.claiming import Claiming
from tests.stateful.ending import Finishing
from tests.stateful.intents import ACCEPT, CLAIM, FINISH
from tests.stateful.invariants import check_state, check_step
from tests.stateful.promise import Act, Broken
from tests.stateful.scene import Scene
from tests.stateful.world import World

HARMS = {
    "lost": "DELETE FROM batches WHERE status = 'CREATED'",
    "fence lowered": "UPDATE batches SET lease_seq = lease_seq - 1 WHERE status = 'DONE'",
    "fence raised": "UPDATE batches SET lease_seq = lease_seq + 1 WHERE status = 'DONE'",
    "run again unasked": "UPDATE batches SET status = 'CREATED', outcome = NULL WHERE status = 'DONE'",
    "run skipped": "UPDATE batches SET run = run + 1 WHERE status = 'CREATED'",
    "claimed without a lease": "UPDATE batches SET status = 'PROCESSING', lease_seq = 1 WHERE status = 'CREATED'",
    "cancelled by nobody": "UPDATE batches SET outcome = 'cancelled' WHERE status = 'DONE'",
    "another outcome": "UPDATE batches SET outcome = 'failed' WHERE status = 'DONE'",
    "crash of nobody": "UPDATE batches SET crashes = 1 WHERE status = 'CREATED'",
    "result lost": "DELETE FROM results WHERE position = 0",
    "result changed": "UPDATE results SET text = 'other'",
    "result of no record": "UPDATE results SET position = 7 WHERE position = 1",
    "event lost": "DELETE FROM deliveries",
    "event of another run": "UPDATE deliveries SET run = 2",
    "other bytes": "UPDATE deliveries SET body = 'other'",
    "attempt unwritten": "UPDATE deliveries SET attempts = 1",
    "due no more": "UPDATE deliveries SET due = NULL",
    "due after its end": "UPDATE deliveries SET state = 'delivered', finished = due",
    "held for ever": "UPDATE deliveries SET held = due, due = NULL",
    "counted twice": "UPDATE tallies SET created = created + 1 WHERE part = 0 OR created > 0",
    "child forgotten": "UPDATE batches SET pending = 1 WHERE status = 'DONE'",
}


def execute(connection: Connection, statements: Sequence[str]) -> list[None]:
    for statement in statements:
        connection.execute(text(statement))
    return [None] * len(statements)


def change(world: World, scene: Scene, act: Act[Any, Any] | None) -> Board:
    assert act is not None
    (answer,) = world.do([act], apart=False)
    act.told(answer)
    before, scene.board = scene.board, world.read()
    check_step(before, scene.board, [act])
    check_state(scene.board)
    return scene.board


@pytest.mark.parametrize("harm", HARMS)
def test_harm_is_noticed(database_url: str, tmp_path: Path, harm: str) -> None:
    with World(database_url, tmp_path) as world:
        world.clear()
        scene = Scene(world.read(), world.workspaces)
        steps: list[Accepting | Claiming | Finishing] = [ACCEPT, CLAIM, FINISH, ACCEPT]
        for intent in steps:
            change(world, scene, intent.act(scene))
        assert {batch.status for batch in scene.board.batches.values()} == {"DONE", "CREATED"}
        with pytest.raises(Broken):
            change(world, scene, Act(execute, HARMS[harm], lambda board, _item, _answer: board))
