"""Workers claim the first due batches, with the next fencing number each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from hypothesis import strategies as st

from broker.batches import Status
from broker.store.claims import PATIENCE_MS, Careful, Claimed, ClaimOrder, claim_batches
from broker.store.leases import Lease
from tests.stateful.board import Board, StoredBatch
from tests.stateful.promise import ANY_ID, About, Act, demand
from tests.stateful.scene import CHILD, FOLDER, PLAIN, TYPES, Hand, Mostly, Scene
from tests.stateful.working import LEASE_MS, Owner


@dataclass(frozen=True)
class Claiming:
    """heard: whether the worker gets the answer; else it works on nothing of it."""

    owner: Owner
    types: Annotated[tuple[str, ...], st.sampled_from([TYPES, (PLAIN, CHILD), (CHILD,), (FOLDER,)])]
    limit: Annotated[int, st.integers(1, 3)]
    idle: Mostly
    careful: Annotated[Careful, st.sampled_from(Careful)]
    apt: bool
    heard: Mostly

    def act(self, scene: Scene) -> Act[ClaimOrder, Claimed] | None:
        order = ClaimOrder(self.owner, self.types, self.limit, LEASE_MS, self.idle, self.careful)
        if self.apt and not any(_is_due(scene.board, order, batch) for batch in scene.board.batches.values()):
            return None

        def told(answer: Claimed) -> None:
            scene.hands += [Hand.of(self.owner, claim) for claim in answer.claims if self.heard]

        return Act(claim_batches, order, claimed, told)


def claimed(board: Board, order: ClaimOrder, told: Claimed) -> Board:
    """The first due batches by rank, each with the next fencing number; one that took a worker down comes alone."""
    batches = [board.batches[claim.id] for claim in told.claims if claim.id in board.batches]
    demand(len(batches) == len(told.claims), "a batch that is not there was claimed")
    demand(not (told.makes_room and (order.idle or batches)), f"makes room with {batches}")
    _demand_right_choice(board, order, batches, told.makes_room)
    for claim, batch in zip(told.claims, batches, strict=True):
        demand(claim.lease == Lease(batch.id, batch.lease_seq + 1), f"{claim.lease} is not the next after {batch}")
        demand((claim.batch.run, claim.batch.status) == (batch.run, Status.PROCESSING), "a claim of another run")
        demand(claim.careful == (batch.crashes > 0), "a batch that took a worker down is to be run with care")
        known = board.results_of(batch.id)
        demand([one.index for one in claim.results] == list(known), "other results than are stored")
        same = all(known[one.index].request_id in (one.request_id, ANY_ID) for one in claim.results)
        demand(same, "other results than are stored")
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


def _demand_right_choice(board: Board, order: ClaimOrder, chosen: list[StoredBatch], makes_room: bool) -> None:
    due = sorted((batch for batch in board.batches.values() if _is_due(board, order, batch)), key=lambda b: b.place)
    demand(set(chosen) <= set(due), f"claimed, though not due: {set(chosen) - set(due)}")
    demand(chosen == sorted(chosen, key=lambda b: b.place), "not in the order of their rank")
    demand(len(chosen) <= order.limit, "more than was asked for")
    crashed, plain = [b for b in due if b.crashes > 0], [b for b in due if b.crashes == 0]
    if any(batch.crashes > 0 for batch in chosen):
        demand(order.idle and len(chosen) == 1, "a batch that took a worker down is not alone")
    if board.crowded:
        return
    fresh = plain[: order.limit]
    if order.careful is Careful.LAST and fresh:
        demand(chosen == fresh and not makes_room, f"{chosen} is not the first of {due}")
    elif order.idle:
        demand(chosen == (crashed[:1] or fresh), f"{chosen} is not the first of {due}")
    else:
        surely = any(batch.due <= board.now - PATIENCE_MS for batch in crashed)
        maybe = any(batch.due <= board.until - PATIENCE_MS for batch in crashed)
        demand(maybe if makes_room else not surely and chosen == fresh, f"a busy worker was given {chosen} of {due}")


def _is_due(board: Board, order: ClaimOrder, batch: StoredBatch) -> bool:
    waits = batch.status == Status.CREATED and batch.due <= board.now
    return waits and batch.type in order.types and batch.workspace_id not in board.paused
