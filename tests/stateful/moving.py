"""What customers and operators ask for: run again, hold back, go on, delete."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from hypothesis import strategies as st

from broker.batches import Overview, Refusal, Status
from broker.deliveries import State
from broker.store.deletions import delete_batches
from broker.store.pauses import Moved, pause_batches, resume_batches
from broker.store.retries import RetryOrder, retry_batches
from broker.store.rows import load_records
from broker.store.workspaces import Hold, hold_workspaces
from tests.stateful.board import Board, StoredBatch
from tests.stateful.promise import About, Act, demand, demand_overview
from tests.stateful.scene import Mostly, Pick, Scene, is_folder, is_plain


@dataclass(frozen=True)
class Retrying:
    batch: Pick
    apt: Mostly
    all_records: bool

    def act(self, scene: Scene) -> Act[RetryOrder, Overview | Refusal | None] | None:
        id = scene.batch(self.batch, may_run_again, apt=self.apt)
        return None if id is None else Act(retry_batches, RetryOrder(id, self.all_records), retried)


def may_run_again(batch: StoredBatch) -> bool:
    return batch.status == Status.DONE and is_plain(batch) and batch.parent_id is None


def retried(board: Board, order: RetryOrder, told: Overview | Refusal | None) -> Board:
    """The next run of what is DONE: good results stay unless all are to come anew, an unsent delivery is superseded."""
    batch = board.batches.get(order.batch)
    if batch is None:
        demand(told is None, "what is not there was retried")
        return board
    known = board.results_of(batch.id)
    good = [] if order.all_records else [place for place, result in known.items() if result.ok]
    places = [place for place in range(batch.size) if place not in good]
    refusal = _refusal(batch, places)
    if refusal is not None or not isinstance(told, Overview):
        demand(told == refusal, f"{told} instead of {refusal}")
        return board
    again = replace(
        batch,
        status=Status.CREATED,
        run=batch.run + 1,
        outcome=None,
        combined=None,
        finished=None,
        crashes=0,
        doubts=0,
        suspect=None,
        outputs_expired=None,
        rank=told.modified,
        due=About(board.now),
        modified=About(board.now),
    )
    late = [
        replace(
            delivery,
            state=State.SUPERSEDED,
            manual=False,
            due=None,
            held=None,
            scheduled=None,
            finished=About(board.now),
        )
        for delivery in board.deliveries_of(batch.id)
        if delivery.state == State.PENDING
    ]
    board = board.without_results(batch.id, places).put(again, *late)
    demand_overview(board, told)
    return board


def _refusal(batch: StoredBatch, places: list[int]) -> Refusal | None:
    """Never OUTPUTS_EXPIRED: results here have no facts, hence no pictures; tests of the use case have it."""
    if batch.parent_id is not None or batch.pending is not None:
        return Refusal.RELATED
    if batch.status != Status.DONE:
        return Refusal.NOT_DONE
    if not places:
        return Refusal.NOTHING_FAILED
    records = load_records(batch.records)
    if batch.inputs_expired is not None and any(records[place].came_along for place in places):
        return Refusal.INPUTS_EXPIRED
    return None


@dataclass(frozen=True)
class Pausing:
    """folder: only a parent will do."""

    batch: Pick
    folder: bool
    apt: Mostly

    def act(self, scene: Scene) -> Act[str, Moved | None] | None:
        id = scene.batch(self.batch, lambda b: may_be_held_back(b) and self.folder <= is_folder(b), apt=self.apt)
        return None if id is None else Act(pause_batches, id, paused)


def may_be_held_back(batch: StoredBatch) -> bool:
    return batch.status == Status.CREATED or (batch.status == Status.PROCESSING and batch.pending is not None)


def paused(board: Board, id: str, told: Moved | None) -> Board:
    """What waits is held back, and a parent with its waiting children, whoever lists it losing the lease."""
    batch = board.batches.get(id)
    demand((told is None) == (batch is None), f"{told} about {id}")
    if batch is None or told is None:
        return board
    legal = may_be_held_back(batch)
    demand(told.changed == legal, f"{told} about {batch}")
    if legal:
        children = [child for child in board.children_of(id) if child.status == Status.CREATED]
        board = board.put(*[_held_back(one, board.now) for one in (batch, *children)])
    demand_overview(board, told.overview)
    return board


def _held_back(batch: StoredBatch, now: int) -> StoredBatch:
    return replace(batch, status=Status.PAUSED, lease_owner=None, lease_until=None, modified=About(now))


@dataclass(frozen=True)
class Resuming:
    """folder: only a parent will do."""

    batch: Pick
    folder: bool
    apt: Mostly

    def act(self, scene: Scene) -> Act[str, Moved | None] | None:
        id = scene.batch(self.batch, lambda b: b.status == Status.PAUSED and self.folder <= is_folder(b), apt=self.apt)
        return None if id is None else Act(resume_batches, id, resumed)


def resumed(board: Board, id: str, told: Moved | None) -> Board:
    """What was held back is due now; a parent that is listed waits for its children again."""
    batch = board.batches.get(id)
    demand((told is None) == (batch is None), f"{told} about {id}")
    if batch is None or told is None:
        return board
    legal = batch.status == Status.PAUSED
    demand(told.changed == legal, f"{told} about {batch}")
    if legal:
        listed = batch.pending is not None and batch.cursor is None
        status = Status.PROCESSING if listed else Status.CREATED
        now = About(board.now)
        children = [child for child in board.children_of(id) if child.status == Status.PAUSED]
        going = [replace(child, status=Status.CREATED, due=now, modified=now) for child in children]
        board = board.put(replace(batch, status=status, due=now, modified=now), *going)
        due = {(one.type, one.id) for one in going} | (set() if listed else {(batch.type, batch.id)})
        demand(set(told.due) == due, f"{told.due} instead of {due}")
    demand_overview(board, told.overview)
    return board


@dataclass(frozen=True)
class Deleting:
    batch: Pick
    apt: Mostly

    def act(self, scene: Scene) -> Act[str, tuple[str, ...] | Refusal | None] | None:
        id = scene.batch(self.batch, lambda batch: batch.status == Status.DONE, apt=self.apt)
        return None if id is None else Act(delete_batches, id, deleted)


def deleted(board: Board, id: str, told: tuple[str, ...] | Refusal | None) -> Board:
    """Nothing but what is DONE goes, with all that hangs on it; a child only with its parent."""
    batch = board.batches.get(id)
    if batch is None:
        demand(told is None, "what is not there was deleted")
        return board
    family = [batch, *board.children_of(id)]
    refusal = None
    if batch.parent_id is not None:
        refusal = Refusal.RELATED
    elif any(one.status != Status.DONE for one in family):
        refusal = Refusal.NOT_DONE
    if refusal is not None or not isinstance(told, tuple):
        demand(told == refusal, f"{told} instead of {refusal}")
        return board
    ids = {one.id for one in family}
    demand(sorted(told) == sorted(ids), f"removed {told} instead of {ids}")
    return board.without(ids)


@dataclass(frozen=True)
class Holding:
    """Claim nothing of a workspace, or let it go on."""

    workspace: Annotated[int, st.integers(0, 1)]
    paused: Annotated[bool, st.sampled_from([False, False, True])]

    def act(self, scene: Scene) -> Act[Hold, bool]:
        return Act(hold_workspaces, Hold(scene.workspaces[self.workspace], self.paused), held)


def held(board: Board, hold: Hold, told: bool) -> Board:
    demand(told, "there is such a workspace")
    one = frozenset({hold.workspace})
    return replace(board, paused=board.paused | one if hold.paused else board.paused - one)
