"""Accepting batches, with and without an idempotency key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Annotated, TypeAlias

from hypothesis import strategies as st
from msgspec import structs

from broker.batches import IdempotencyKey, NewBatch, Record, Status, new_id
from broker.store.batches import insert_batches
from broker.store.keys import KEPT_MS, forget_keys
from broker.store.rank import fresh_rank
from broker.store.rows import dump_records
from tests.stateful.board import Board, StoredBatch
from tests.stateful.promise import About, Act, Broken, demand
from tests.stateful.scene import FOLDER, HOOKS, PLAIN, Mostly, Scene

Size: TypeAlias = Annotated[int, st.integers(1, 3)]
KEYS = (None, "first", "second")
ENOUGH = 6
"""Few batches, so that much happens to each."""


@dataclass(frozen=True)
class Accepting:
    """hook: where its webhook goes, None for nowhere. sent_along: its pictures are blobs."""

    type: Annotated[str, st.sampled_from([PLAIN, PLAIN, FOLDER])]
    size: Size
    hook: Annotated[bytes | None, st.sampled_from([*HOOKS, HOOKS[0], None])]
    sent_along: bool
    workspace: Annotated[int, st.integers(0, 1)]
    key: Annotated[str | None, st.sampled_from(KEYS)]

    def act(self, scene: Scene) -> Act[NewBatch, int | None] | None:
        workspace = scene.workspaces[self.workspace]
        if len(scene.board.batches) > ENOUGH and (workspace, self.key) not in _taken_keys(scene.board):
            return None
        size = 0 if self.type == FOLDER else self.size
        batch = new_batch(workspace, self.type, size, sent_along=self.sent_along)
        body = hashlib.sha256(repr(self).encode()).digest()
        key = None if self.key is None else IdempotencyKey(self.key, body)
        return Act(insert_batches, structs.replace(batch, webhook=self.hook, key=key), accepted)


def new_batch(workspace: str, type: str, size: int, *, sent_along: bool = False) -> NewBatch:
    url, blob = (None, "in/picture") if sent_along else ("https://example.com/1.jpg", None)
    return NewBatch(
        id=new_id(),
        workspace=workspace,
        dialect="ximilar",
        type=type,
        endpoint="endpoint",
        params="{}",
        records=dump_records(tuple(Record(str(place), url, blob) for place in range(size))),
        extra="{}",
        size=size,
        base_url="https://broker.example",
    )


def accepted(board: Board, item: NewBatch, created: int | None) -> Board:
    """Stored as it came; nothing where another batch of the workspace has its key."""
    if item.key is not None and (item.workspace, item.key.name) in _taken_keys(board):
        demand(created is None, "a key was taken twice")
        return board
    if created is None:
        raise Broken("a batch whose key is free was refused")
    return board.put(created_row(item, About(board.now), fresh_rank(created)))


def _taken_keys(board: Board) -> set[tuple[str, str]]:
    keyed = [(batch.workspace_id, batch.idempotency_key) for batch in board.batches.values()]
    return {(workspace, key) for workspace, key in keyed if key is not None}


def created_row(item: NewBatch, created: int, rank: int) -> StoredBatch:
    return StoredBatch(
        id=item.id,
        workspace_id=item.workspace,
        type=item.type,
        records=item.records,
        size=item.size,
        webhook=item.webhook,
        status=Status.CREATED,
        outcome=None,
        run=1,
        rank=rank,
        due=created,
        lease_seq=0,
        lease_owner=None,
        lease_until=None,
        crashes=0,
        doubts=0,
        suspect=None,
        combined=None,
        parent_id=None,
        ordinal=None,
        pending=None,
        cursor=None,
        idempotency_key=item.key.name if item.key else None,
        body_hash=item.key.body_hash if item.key else None,
        inputs_expired=None,
        outputs_expired=None,
        created=created,
        modified=created,
        finished=None,
    )


@dataclass(frozen=True)
class Forgetting:
    """The caretaker forgets keys."""

    limit: Annotated[int, st.integers(1, 2)]
    apt: Mostly

    def act(self, scene: Scene) -> Act[int, int] | None:
        if scene.board.crowded or (self.apt and not _taken_keys(scene.board)):
            return None  # its answer does not tell which it passed over
        return Act(forget_keys, self.limit, forgotten)


def forgotten(board: Board, limit: int, count: int) -> Board:
    """The oldest keys of those that are a day old."""
    old = _old_keys(board)
    demand(count == len(old[:limit]), f"{count} keys were forgotten instead of {len(old[:limit])}")
    return board.put(*[replace(batch, idempotency_key=None, body_hash=None) for batch in old[:limit]])


def _old_keys(board: Board) -> list[StoredBatch]:
    """Batches whose keys may be forgotten, the oldest first."""
    keyed = [batch for batch in board.batches.values() if batch.idempotency_key is not None]
    old = [batch for batch in keyed if batch.created < board.now - KEPT_MS]
    return sorted(old, key=lambda batch: (batch.created, batch.id))
