"""What workers do with leases: claim, beat, announce, checkpoint, give back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, TypeAlias

from hypothesis import strategies as st

from broker.batches import Status
from broker.store.claims import PATIENCE_MS, Claim, ClaimOrder, claim_batches
from broker.store.crashes import Announcement, announce_records
from broker.store.leases import Beat, GiveBack, Lease, extend_leases, give_back_batches
from broker.store.results import Checkpoint, checkpoint_results
from tests.stateful.board import Board, StoredBatch, StoredResult
from tests.stateful.promise import HOUR, About, Act, demand
from tests.stateful.scene import FOLDER, PLAIN_TYPES, TYPES, WORKERS, Hand, Mostly, Pick, Scene

Code: TypeAlias = Annotated[int, st.sampled_from([200, 200, 404])]
Owner: TypeAlias = Annotated[str, st.sampled_from(WORKERS)]
Pause: TypeAlias = Annotated[int, st.sampled_from([0, 0, HOUR])]
LEASE_MS = HOUR


@dataclass(frozen=True)
class Claiming:
    owner: Owner
    types: Annotated[tuple[str, ...], st.sampled_from([TYPES, PLAIN_TYPES, PLAIN_TYPES[:1], (FOLDER,)])]
    limit: Annotated[int, st.integers(1, 3)]
    idle: Mostly

    def act(self, scene: Scene) -> Act[ClaimOrder, list[Claim]]:
        def told(claims: list[Claim]) -> None:
            scene.hands += [Hand.of(self.owner, claim) for claim in claims]

        return Act(claim_batches, ClaimOrder(self.owner, self.types, self.limit, LEASE_MS, self.idle), claimed, told)


def claimed(board: Board, order: ClaimOrder, claims: list[Claim]) -> Board:
    """The first due batches by rank, each with the next fencing number; one that took a worker down comes alone."""
    batches = [board.batches[claim.id] for claim in claims if claim.id in board.batches]
    demand(len(batches) == len(claims), "a batch that is not there was claimed")
    _demand_right_choice(board, order, batches)
    for claim, batch in zip(claims, batches, strict=True):
        demand(claim.lease == Lease(batch.id, batch.lease_seq + 1), f"{claim.lease} is not the next after {batch}")
        demand((claim.batch.run, claim.batch.status) == (batch.run, Status.PROCESSING), "a claim of another run")
        demand(claim.careful == (batch.crashes > 0), "a batch that took a worker down is to be run with care")
        known = [(row.position, row.request_id) for row in board.results_of(batch.id).values()]
        demand([(one.index, one.request_id) for one in claim.results] == known, "other results than are stored")
    return board.put(
        *[
            replace(
                batch,
                status=Status.PROCESSING,
                lease_seq=batch.lease_seq + 1,
                lease_owner=order.owner,
                lease_until=About(board.now + order.lease_ms),
                modified=About(board.now),
            )
            for batch in batches
        ]
    )


def _demand_right_choice(board: Board, order: ClaimOrder, chosen: list[StoredBatch]) -> None:
    due = sorted((batch for batch in board.batches.values() if _is_due(board, order, batch)), key=lambda b: b.place)
    demand(set(chosen) <= set(due), f"claimed, though not due: {set(chosen) - set(due)}")
    demand(chosen == sorted(chosen, key=lambda b: b.place), "not in the order of their rank")
    demand(len(chosen) <= order.limit, "more than was asked for")
    crashed, plain = [b for b in due if b.crashes > 0], [b for b in due if b.crashes == 0]
    if any(batch.crashes > 0 for batch in chosen):
        demand(order.idle and len(chosen) == 1, "a batch that took a worker down is not alone")
    if board.crowded:
        return
    if order.idle:
        demand(chosen == (crashed[:1] or plain[: order.limit]), f"{chosen} is not the first of {due}")
        return
    surely = any(batch.due <= board.now - PATIENCE_MS for batch in crashed)
    maybe = any(batch.due <= board.until - PATIENCE_MS for batch in crashed)
    makes_room, takes = maybe and not chosen, not surely and chosen == plain[: order.limit]
    demand(makes_room or takes, f"a busy worker was given {chosen} of {due}")


def _is_due(board: Board, order: ClaimOrder, batch: StoredBatch) -> bool:
    waits = batch.status == Status.CREATED and batch.due <= board.now
    return waits and batch.type in order.types and batch.workspace_id not in board.paused


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
class GivingBack:
    hand: Pick
    held: Mostly
    pause_ms: Pause

    def act(self, scene: Scene) -> Act[GiveBack, bool]:
        hand = scene.hand(self.hand, held=self.held, types=TYPES)
        return Act(give_back_batches, GiveBack(hand.lease, self.pause_ms), given_back)


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

    def act(self, scene: Scene) -> Act[Checkpoint, bool]:
        hand = scene.hand(self.hand, held=self.held)
        places = (hand.open_places or list(hand.fresh) or list(range(hand.size)))[: self.count]
        results = tuple(hand.make(place, self.code) for place in places)

        def told(kept: bool) -> None:
            if kept and self.heard:
                hand.stored |= {result.index: hand.fresh.pop(result.index, result) for result in results}

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

    def act(self, scene: Scene) -> Act[Announcement, bool]:
        hand = scene.hand(self.hand, held=self.held, careful=True)
        places = hand.open_places or list(range(hand.size))
        return Act(announce_records, Announcement(hand.lease, places[self.place % len(places)]), announced)


def announced(board: Board, item: Announcement, told: bool) -> Board:
    """Another record than before is not blamed for more than one crash."""
    batch = board.holder(item.lease)
    demand(told == (batch is not None), f"{told} about {item.lease}")
    if batch is None:
        return board
    same = batch.suspect is None or batch.suspect == item.place
    return board.put(replace(batch, suspect=item.place, crashes=batch.crashes if same else 1))
