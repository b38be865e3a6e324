"""What workers do with leases: beat, announce, checkpoint, give back, look for strays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, TypeAlias

from hypothesis import strategies as st

from broker.batches import Status
from broker.store.crashes import Announcement, announce_records
from broker.store.leases import (
    Beat,
    GiveBack,
    Lease,
    Strays,
    extend_leases,
    give_back_batches,
    return_strays,
)
from broker.store.results import Checkpoint, checkpoint_results
from tests.stateful.board import Board, StoredBatch, StoredResult
from tests.stateful.promise import HOUR, About, Act, demand
from tests.stateful.scene import WORKERS, Mostly, Pick, Scene, is_plain

Code: TypeAlias = Annotated[int, st.sampled_from([200, 200, 404])]
Owner: TypeAlias = Annotated[str, st.sampled_from(WORKERS)]
Pause: TypeAlias = Annotated[int, st.sampled_from([0, HOUR])]
LEASE_MS = HOUR
STRAY_MS = HOUR // 2


@dataclass(frozen=True)
class Beating:
    """honest: with the leases that this worker was given, lost ones among them; else with everybody's."""

    owner: Owner
    honest: Mostly

    def act(self, scene: Scene) -> Act[Beat, frozenset[Lease]]:
        leases = tuple(hand.lease for hand in scene.hands if hand.owner == self.owner or not self.honest)
        return Act(extend_leases, Beat(self.owner, leases, LEASE_MS), extended)


def extended(board: Board, beat: Beat, held: frozenset[Lease]) -> Board:
    """Those that are held by this owner last longer, and only they are in the answer."""
    batches = {lease: board.holder(lease) for lease in beat.leases}
    mine = {lease: batch for lease, batch in batches.items() if batch and batch.lease_owner == beat.owner}
    demand(held == mine.keys(), f"told to hold {held} instead of {set(mine)}")
    return board.put(*[replace(batch, lease_until=About(board.now + beat.lease_ms)) for batch in mine.values()])


@dataclass(frozen=True)
class Straying:
    """A worker looks for what it claimed unawares."""

    owner: Owner
    apt: Mostly

    def act(self, scene: Scene) -> Act[Strays, list[tuple[str, str]]] | None:
        known = tuple(hand.lease for hand in scene.hands if hand.owner == self.owner)
        order = Strays(self.owner, known, LEASE_MS, STRAY_MS)
        return None if self.apt and not _strays(scene.board, order) else Act(return_strays, order, strays_returned)


def strays_returned(board: Board, order: Strays, told: list[tuple[str, str]]) -> Board:
    """They wait again, and nothing is counted."""
    strays = _strays(board, order)
    if board.crowded:
        strays = [batch for batch in strays if (batch.type, batch.id) in told]
    demand(sorted(told) == sorted((batch.type, batch.id) for batch in strays), f"{told} instead of {strays}")
    return board.put(*[waiting(batch, board.now, 0) for batch in strays])


def _strays(board: Board, order: Strays) -> list[StoredBatch]:
    latest = board.now + order.lease_ms - order.age_ms
    mine = [batch for batch in board.batches.values() if batch.lease_owner == order.owner]
    old = [batch for batch in mine if batch.lease_until is not None and batch.lease_until < latest]
    return [batch for batch in old if Lease(batch.id, batch.lease_seq) not in order.known]


@dataclass(frozen=True)
class GivingBack:
    hand: Pick
    held: Mostly
    pause_ms: Pause

    def act(self, scene: Scene) -> Act[GiveBack, bool] | None:
        hand = scene.hand(self.hand, lambda _: True, held=self.held)
        return None if hand is None else Act(give_back_batches, GiveBack(hand.lease, self.pause_ms), given_back)


def given_back(board: Board, item: GiveBack, told: bool) -> Board:
    """It waits again, and nothing is counted."""
    batch = board.holder(item.lease)
    demand(told == (batch is not None), f"{told} about {item.lease}")
    if batch is None:
        return board
    return board.put(waiting(batch, board.now, item.pause_ms))


def waiting(batch: StoredBatch, now: int, pause_ms: int) -> StoredBatch:
    return replace(
        batch,
        status=Status.CREATED,
        lease_owner=None,
        lease_until=None,
        due=About(now + pause_ms),
        modified=About(now),
    )


@dataclass(frozen=True)
class Checkpointing:
    """heard: whether the worker gets the answer; else it will store the same results again."""

    hand: Pick
    held: Mostly
    code: Code
    count: Annotated[int, st.integers(1, 2)]
    heard: Mostly

    def act(self, scene: Scene) -> Act[Checkpoint, bool] | None:
        hand = scene.hand(self.hand, is_plain, held=self.held)
        if hand is None:
            return None
        places = (hand.open_places or list(hand.fresh) or list(range(hand.size)))[: self.count]
        results = tuple(hand.make(place, self.code) for place in places)

        def told(kept: bool) -> None:
            if kept and self.heard:
                hand.keep(results)

        return Act(checkpoint_results, Checkpoint(hand.lease, hand.run, results), checkpointed, told)


def checkpointed(board: Board, item: Checkpoint, told: bool) -> Board:
    """What has a result already keeps it."""
    batch = board.holder(item.lease)
    demand(told == (batch is not None), f"{told} about {item.lease}")
    if batch is None:
        return board
    fresh = [
        StoredResult(
            batch_id=batch.id,
            position=result.index,
            run=item.run,
            lease_seq=item.lease.seq,
            code=result.code,
            text=result.text,
            request_id=result.request_id,
            finished=About(board.now),
        )
        for result in item.results
    ]
    return board.put(*[row for row in fresh if row.key not in board.results])


@dataclass(frozen=True)
class Announcing:
    """A worker that runs a batch with care says which record is next."""

    hand: Pick
    held: Mostly
    place: Annotated[int, st.integers(0, 2)]

    def act(self, scene: Scene) -> Act[Announcement, bool] | None:
        hand = scene.hand(self.hand, lambda hand: hand.careful and is_plain(hand), held=self.held)
        if hand is None:
            return None
        places = hand.open_places or list(range(hand.size))
        return Act(announce_records, Announcement(hand.lease, places[self.place % len(places)]), announced)


def announced(board: Board, item: Announcement, told: bool) -> Board:
    """Another record than before is not blamed for more than one crash."""
    batch = board.holder(item.lease)
    demand(told == (batch is not None), f"{told} about {item.lease}")
    if batch is None:
        return board
    crashes, doubts = (batch.crashes, batch.doubts) if batch.suspect == item.place else (1, 0)
    return board.put(replace(batch, suspect=item.place, crashes=crashes, doubts=doubts))
