"""What is kept how long: pictures expire, old batches are pruned."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Annotated

from hypothesis import strategies as st

from broker.batches import Status
from broker.store.ended import Gone, Place
from broker.store.expiry import Expire, Expired, Kind, expire_blobs
from broker.store.retention import Prune, prune_batches
from broker.store.rows import load_records
from tests.stateful.board import Board, StoredBatch
from tests.stateful.promise import DAY, HOUR, About, Act, demand
from tests.stateful.scene import Mostly, Pick, Scene

BLOBS_MS = 20 * HOUR
BATCHES_MS = 30 * DAY


@dataclass(frozen=True)
class Expiring:
    kind: Annotated[Kind, st.sampled_from(Kind)]
    limit: Annotated[int, st.integers(1, 3)]
    apt: Mostly

    def act(self, scene: Scene) -> Act[Expire, Expired] | None:
        order = Expire(self.kind, BLOBS_MS, self.limit)
        if scene.board.crowded or (self.apt and not _next(scene.board, order)):
            return None  # it goes past rows, before it locks them, that others are just changing
        return Act(expire_blobs, order, expired)


def expired(board: Board, order: Expire, told: Expired) -> Board:
    """The rows of the next batches that ended long ago say so, once a run."""
    looked_at = _next(board, order)
    batches = [board.batches[id] for _, id in looked_at]
    due = [batch for batch in batches if _expires(batch, order.kind)]
    demand(told.more == (len(looked_at) == order.limit), f"{told} at {looked_at}")
    demand(set(told.gone) == _gone(due), f"{told.gone} instead of {due}")
    now = About(board.now)
    inputs = [replace(batch, inputs_expired=now) for batch in due if order.kind is Kind.INPUTS]
    outputs = [replace(batch, outputs_expired=now) for batch in due if order.kind is Kind.OUTPUTS]
    board = board.put(*inputs, *outputs)
    if not looked_at:
        return board
    return replace(board, cursors={**board.cursors, order.kind: json.dumps(looked_at[-1])})


def _next(board: Board, order: Expire) -> list[tuple[int, str]]:
    """The places of the batches that are looked at next."""
    cursor = board.cursors[order.kind]
    after = Place(*json.loads(cursor)) if cursor else Place()
    over = [(b.finished or 0, b.id) for b in board.batches.values() if _is_over(board, b, order.age_ms)]
    return sorted(place for place in over if place > (after.finished, after.id))[: order.limit]


def _is_over(board: Board, batch: StoredBatch, age_ms: int) -> bool:
    return batch.status == Status.DONE and batch.finished is not None and batch.finished < board.now - age_ms


def _expires(batch: StoredBatch, kind: Kind) -> bool:
    if kind is Kind.INPUTS and not any(record.came_along for record in load_records(batch.records)):
        return False
    since = batch.inputs_expired if kind is Kind.INPUTS else batch.outputs_expired
    return since is None or since < (batch.finished or 0)


def _gone(batches: list[StoredBatch]) -> set[Gone]:
    return {Gone(batch.workspace_id, batch.id, batch.lease_seq) for batch in batches}


@dataclass(frozen=True)
class Pruning:
    """every: all that there are at once, else one."""

    batch: Pick
    every: bool
    apt: Mostly

    def act(self, scene: Scene) -> Act[Prune, tuple[Gone, ...]] | None:
        every = Prune(tuple(scene.board.batches), BATCHES_MS)
        one = scene.batch(self.batch, lambda batch: _is_over(scene.board, batch, BATCHES_MS), apt=self.apt)
        return None if one is None else Act(prune_batches, every if self.every else replace(every, ids=(one,)), pruned)


def pruned(board: Board, order: Prune, told: tuple[Gone, ...]) -> Board:
    """What ended long ago goes, unless a webhook of it is owed, its children are there, or its parent needs it."""
    going = _going(board, order)
    demand(set(told) == _gone(going), f"{told} instead of {going}")
    return board.without({batch.id for batch in going})


def _going(board: Board, order: Prune) -> list[StoredBatch]:
    batches = [board.batches[id] for id in order.ids if id in board.batches]
    return [batch for batch in batches if _is_over(board, batch, order.age_ms) and _is_unneeded(board, batch, order)]


def _is_unneeded(board: Board, batch: StoredBatch, order: Prune) -> bool:
    if any(delivery.owed for delivery in board.deliveries_of(batch.id)):
        return False
    if board.children_of(batch.id):
        return False
    return batch.parent_id is None or _is_over(board, board.batches[batch.parent_id], order.age_ms)
