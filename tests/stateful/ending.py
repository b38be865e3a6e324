"""The three ways to DONE: a worker finishes, somebody cancels, a parent is completed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from broker.batches import CANCELLED_CODE, CANCELLED_TEXT, Batch, Outcome, Result, Status, outcome_of
from broker.deliveries import EVENT_DONE, NewDelivery, State
from broker.endpoints import Endpoint, enabled
from broker.store.ends import Cancelled, Ended, EndOrder, Finish, cancel_batches, complete_parents, finish_batches
from broker.store.leases import Lease
from tests.stateful.board import Board, StoredAttempt, StoredBatch, StoredDelivery, StoredEndpoint, StoredResult
from tests.stateful.promise import HOUR, About, Act, demand, demand_overview
from tests.stateful.rooms import is_disabled
from tests.stateful.scene import Hand, Mostly, Pick, Scene, is_plain, made_id
from tests.stateful.working import Code


@dataclass(frozen=True)
class Finishing:
    """A worker has a result of each record, as far as it knows. codes: of those that it had not run yet, by place.

    offered: its process has room for a try at the webhook, which so is begun at once.
    """

    hand: Pick
    held: Mostly
    codes: tuple[Code, Code, Code]
    offered: bool

    def act(self, scene: Scene) -> Act[Finish, Ended | None] | None:
        hand = scene.hand(self.hand, is_plain, held=self.held)
        if hand is None:
            return None
        for place in hand.open_places:
            hand.make(place, self.codes[place])
        finish = _finish(hand)
        if finish.delivery is not None and self.offered:
            finish = structs.replace(finish, delivery=structs.replace(finish.delivery, claim_ms=HOUR))
        return Act(finish_batches, finish, finished, scene.learn_of)


def _finish(hand: Hand) -> Finish:
    return Finish(
        lease=hand.lease,
        run=hand.run,
        outcome=outcome_of((*hand.stored.values(), *hand.fresh.values())),
        results=tuple(hand.fresh.values()),
        delivery=new_delivery(hand.hook, hand.lease.batch, hand.workspace, hand.run, hand.lease.seq),
        combined=f'"{hand.lease.seq}"',
        parent=hand.parent,
    )


def new_delivery(hook: bytes | None, batch: str, workspace: str, run: int, seq: int) -> NewDelivery | None:
    """The webhook that is owed for a run where one is wanted; its bytes tell who ended it."""
    if hook is None:
        return None
    to = hook.decode()
    return NewDelivery(
        id=made_id(batch, run, seq),
        batch=batch,
        workspace=workspace,
        run=run,
        event=EVENT_DONE,
        endpoint=Endpoint(f"{to} of {workspace}", workspace, f"https://{to}.example", b"place"),
        target=hook,
        body=f"{batch} {run} {seq}".encode(),
    )


def finished(board: Board, item: Finish, told: Ended | None) -> Board:
    """DONE with all results, a delivery and one less for its parent to wait for.

    Whoever ends the last child is told; others that end with it in one group may be told as well.
    """
    batch = board.holder(item.lease)
    demand((told is None) == (batch is None), f"{told} about {item.lease}")
    if batch is None or told is None:
        return board
    begun = is_begun(board, item.delivery)
    demand(told.begun == (item.delivery.first_try() if begun and item.delivery else None), f"{told} of {item.delivery}")
    board, complete = _end(board, batch, item, fence=0)
    demand(told.complete in (complete, batch.parent_id), f"{told} about a child of {batch.parent_id}")
    demand(complete is None or told.complete == complete, f"{told}, though {complete} waits for its end alone")
    return board


def _end(board: Board, batch: StoredBatch, item: Finish, *, fence: int) -> tuple[Board, str | None]:
    """The board after it, and the parent if it waits for no child any more."""
    now, seq = About(board.now), batch.lease_seq + fence
    done = replace(
        batch,
        status=Status.DONE,
        outcome=item.outcome,
        combined=item.combined,
        lease_seq=seq,
        lease_owner=None,
        lease_until=None,
        suspect=None,
        modified=now,
        finished=now,
    )
    fresh = [
        StoredResult(batch.id, result.index, item.run, seq, result.code, result.text, result.request_id, now)
        for result in item.results
    ]
    board = board.put(done, *[row for row in fresh if row.key not in board.results])
    if item.delivery is not None:
        board = _owe(board, item.delivery, now)
    if batch.parent_id is None:
        return board, None
    parent = board.batches[batch.parent_id]
    pending = (parent.pending or 0) - 1
    return board.put(replace(parent, pending=pending)), parent.id if pending == 0 else None


def is_begun(board: Board, delivery: NewDelivery | None) -> bool:
    """Whether its birth claims it: who owes it has room, and nothing is in its way at its endpoint."""
    if delivery is None or delivery.claim_ms is None:
        return False
    to = board.endpoints.get(delivery.endpoint.id)
    return to is None or not (is_disabled(to) or to.condition.open_until is not None or to.holding)


def _owe(board: Board, delivery: NewDelivery, now: int) -> Board:
    """A delivery that is due at once, or claimed; what is known of its endpoint stays."""
    to, begun = delivery.endpoint, is_begun(board, delivery)
    fresh = StoredEndpoint(to.id, to.workspace, to.origin, enabled(now), holding=False, created=now)
    owed = StoredDelivery(
        id=delivery.id,
        batch_id=delivery.batch,
        run=delivery.run,
        event=delivery.event,
        endpoint=to.id,
        body=delivery.body,
        state=State.PENDING,
        attempts=int(begun),
        step=int(begun),
        hurried=False,
        manual=False,
        due=About(now + HOUR) if begun else now,
        held=None,
        scheduled=None,
        lease_seq=int(begun),
        created=now,
        finished=None,
    )
    tries = [StoredAttempt(owed.id, 1, False, now, None, None)] if begun else []
    return board.put(board.endpoints.get(to.id, fresh), owed, *tries)


@dataclass(frozen=True)
class Cancelling:
    batch: Pick
    apt: Mostly

    def act(self, scene: Scene) -> Act[EndOrder, Cancelled | None] | None:
        id = scene.batch(self.batch, lambda batch: batch.status != Status.DONE, apt=self.apt)
        return None if id is None else Act(cancel_batches, EndOrder(id, _cancel), cancelled)


def _cancel(batch: Batch, stored: Sequence[Result]) -> Finish:
    known = {result.index for result in stored}
    open_places = [place for place in range(len(batch.records)) if place not in known]
    return _made_finish(batch, batch.workspace, batch.parent, Outcome.CANCELLED, open_places)


def _made_finish(
    batch: Batch | StoredBatch, workspace: str, parent: str | None, outcome: Outcome, cancelled: Sequence[int]
) -> Finish:
    """An end that no worker makes; the same for what the store shows of a batch and for its row."""
    id, run, seq = batch.id, batch.run, batch.lease_seq
    delivery = new_delivery(batch.webhook, id, workspace, run, seq)
    results = tuple(
        Result(place, CANCELLED_CODE, CANCELLED_TEXT, made_id(id, "cancelled", run, place)) for place in cancelled
    )
    return Finish(Lease(id, seq), run, outcome, results, delivery, parent=parent)


def cancelled(board: Board, item: EndOrder, told: Cancelled | None) -> Board:
    """DONE at once, a parent's open children too, each with a higher fencing number; what is DONE stays as it is."""
    batch = board.batches.get(item.batch)
    demand((told is None) == (batch is None), f"{told} about {item.batch}")
    if batch is None or told is None:
        return board
    if batch.status == Status.DONE:
        demand((told.ended, told.complete) == ((), None), "what is DONE ended again")
        demand_overview(board, told.overview)
        return board
    children = [child for child in board.children_of(batch.id) if child.status != Status.DONE]
    for child in children:
        board, _ = _cancel_one(board, child)
    board, complete = _cancel_one(board, board.batches[batch.id])
    demand(sorted(told.ended) == sorted([batch.id, *[child.id for child in children]]), f"ended {told.ended}")
    demand(told.complete == complete, f"{told.complete} is complete instead of {complete}")
    demand_overview(board, told.overview)
    return board


def _cancel_one(board: Board, batch: StoredBatch) -> tuple[Board, str | None]:
    known = board.results_of(batch.id)
    open_places = [place for place in range(batch.size) if place not in known]
    finish = _made_finish(batch, batch.workspace_id, batch.parent_id, Outcome.CANCELLED, open_places)
    return _end(board, batch, finish, fence=1)


@dataclass(frozen=True)
class Completing:
    """A parent that may wait for nothing any more is looked at."""

    batch: Pick
    apt: Mostly

    def act(self, scene: Scene) -> Act[EndOrder, bool] | None:
        id = scene.batch(self.batch, lambda batch: batch.pending == 0 and batch.status != Status.DONE, apt=self.apt)
        return None if id is None else Act(complete_parents, EndOrder(id, _complete), completed)


def _complete(parent: Batch, results: Sequence[Result]) -> Finish:
    return _made_finish(parent, parent.workspace, parent.parent, outcome_of(results), ())


def completed(board: Board, item: EndOrder, told: bool) -> Board:
    """DONE, once it is listed and no child is open, with the outcome that the results of all children give."""
    parent = board.batches.get(item.batch)
    if parent is None or not _is_complete(parent):
        demand(not told, "a parent that waits for its children ended")
        return board
    demand(told, "a parent that waits for nothing did not end")
    codes = [result.code for child in board.children_of(parent.id) for result in board.results_of(child.id).values()]
    results = [Result(place, code, "", "") for place, code in enumerate(codes)]
    finish = _made_finish(parent, parent.workspace_id, parent.parent_id, outcome_of(results), ())
    board, _ = _end(board, parent, finish, fence=0)
    return board


def _is_complete(parent: StoredBatch) -> bool:
    return (parent.status, parent.pending, parent.lease_owner) == (Status.PROCESSING, 0, None)
