"""What holds in every state of the database and over every step, whatever was done: the promises of the design."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from broker.batches import Outcome, Result, Status, outcome_of
from broker.deliveries import State
from broker.store.crashes import count_crashes, rescue_batches
from broker.store.deletions import delete_batches
from broker.store.ends import cancel_batches
from broker.store.put_back import put_back_deliveries
from broker.store.replays import replay_deliveries
from broker.store.retention import prune_batches
from tests.stateful.board import Board, StoredBatch, StoredDelivery, StoredResult
from tests.stateful.promise import Act, demand

LEGAL_MOVES = {
    (Status.CREATED, Status.PROCESSING),
    (Status.PROCESSING, Status.DONE),
    (Status.PROCESSING, Status.CREATED),
    (Status.CREATED, Status.DONE),
    (Status.PAUSED, Status.DONE),
    (Status.CREATED, Status.PAUSED),
    (Status.PAUSED, Status.CREATED),
    (Status.DONE, Status.CREATED),
}
MOVES_OF_PARENTS = {(Status.PROCESSING, Status.PAUSED), (Status.PAUSED, Status.PROCESSING)}


def check_state(board: Board) -> None:
    """Raises Broken for a state that must never be seen."""
    demand(not board.miscounted, "tallies that are wrong", board.miscounted)
    for batch in board.batches.values():
        _check_lease(batch)
        _check_family(board, batch)
        _check_results(board, batch)
        _check_deliveries(board, batch)
    for delivery in board.deliveries.values():
        numbers = sorted(number for id, number in board.attempts if id == delivery.id)
        demand(numbers == list(range(1, delivery.attempts + 1)), "wrong attempts", numbers, delivery)
        demand((delivery.finished is None) == (delivery.state == State.PENDING), "an end that is none", delivery)
        _check_turn(board, delivery)


def _check_turn(board: Board, delivery: StoredDelivery) -> None:
    """A try that is owed is due or held back, and then some claim looks for it; none that is not owed is either."""
    due, held = delivery.due is not None, delivery.held is not None
    demand(due + held == delivery.owed, "neither due nor held, or both, or not owed", delivery)
    demand(not held or board.endpoints[delivery.endpoint].holding, "held back for ever", delivery)


def _check_lease(batch: StoredBatch) -> None:
    leased = batch.lease_owner is not None
    demand(leased == (batch.lease_until is not None), "half a lease", batch)
    demand(not leased or batch.status == Status.PROCESSING, "a lease on what does not run", batch)
    demand(leased or batch.status != Status.PROCESSING or batch.pending is not None, "runs without a lease", batch)


def _check_family(board: Board, batch: StoredBatch) -> None:
    children = board.children_of(batch.id)
    still_open = sum(child.status != Status.DONE for child in children)
    demand((batch.pending or 0) == still_open, "open children", still_open, batch)
    demand(batch.status != Status.DONE or still_open == 0, "ended before its children", batch)
    demand(len({child.ordinal for child in children}) == len(children), "a child twice", children)


def _check_results(board: Board, batch: StoredBatch) -> None:
    results = board.results_of(batch.id)
    demand(set(results) <= set(range(batch.size)), "results of no record", results, batch)
    for result in results.values():
        demand(result.run <= batch.run and result.lease_seq <= batch.lease_seq, "a result of the future", result, batch)
    demand((batch.status == Status.DONE) == (batch.outcome is not None), "an outcome of what goes on", batch)
    if batch.status != Status.DONE:
        return
    demand(list(results) == list(range(batch.size)), "results missing", results, batch)
    demand(batch.finished is not None and batch.suspect is None, "not over", batch)
    if batch.pending is None:
        _check_outcome(batch, list(results.values()))


def _check_outcome(batch: StoredBatch, results: Sequence[StoredResult]) -> None:
    if batch.outcome != Outcome.CANCELLED:
        seen = [Result(result.position, result.code, "", "") for result in results]
        demand(batch.outcome == outcome_of(seen), "another outcome than the results give", results, batch)


def _check_deliveries(board: Board, batch: StoredBatch) -> None:
    """One for each run that has ended, none for another; those of older runs are not sent any more."""
    deliveries = board.deliveries_of(batch.id)
    ended = batch.run if batch.status == Status.DONE else batch.run - 1
    wanted = list(range(1, ended + 1)) if batch.webhook is not None else []
    demand([delivery.run for delivery in deliveries] == wanted, "not one delivery a run", deliveries, batch)
    late = [delivery for delivery in deliveries if delivery.run < ended or batch.status != Status.DONE]
    demand(
        all(delivery.state != State.PENDING for delivery in late), "deliveries of older runs that would be sent", late
    )


def check_step(before: Board, after: Board, acts: Collection[Act[Any, Any]]) -> None:
    """Raises Broken for a change that must never happen; a step of several acts may make several moves."""
    operations = {act.operation for act in acts}
    for id, old in before.batches.items():
        new = after.batches.get(id)
        if new is None:
            demand(bool(operations & {delete_batches, prune_batches}), "lost", old)
            demand(old.status == Status.DONE or len(acts) > 1, "removed before it was done", old)
            continue
        _check_numbers(old, new)
        if len(acts) == 1:
            _check_move(old, new)
        if (old.outcome, old.run) != (new.outcome, new.run) and new.outcome == Outcome.CANCELLED:
            demand(cancel_batches in operations, "nobody cancelled", new)
        if new.pending is not None and old.status != Status.DONE and new.status == Status.DONE:
            family = [result for child in after.children_of(id) for result in after.results_of(child.id).values()]
            _check_outcome(new, family)  # not later, as old children are removed before their parent
        if new.crashes > old.crashes:
            demand(bool(operations & {rescue_batches, count_crashes}), "no crash", old, new)
            demand(new.crashes == old.crashes + 1 or len(acts) > 1, "more than a crash", old, new)
    _check_results_kept(before, after)
    _check_deliveries_kept(before, after, touched=bool(operations & {replay_deliveries, put_back_deliveries}))


def _check_numbers(old: StoredBatch, new: StoredBatch) -> None:
    demand(new.lease_seq >= old.lease_seq, "the fencing number went down", old, new)
    demand(new.run >= old.run, "a run was undone", old, new)
    demand(new.run > old.run or old.status != Status.DONE or new.status == Status.DONE, "undone", old, new)


def _check_move(old: StoredBatch, new: StoredBatch) -> None:
    move = (Status(old.status), Status(new.status))
    legal = LEGAL_MOVES if new.pending is None else LEGAL_MOVES | MOVES_OF_PARENTS
    demand(move[0] == move[1] or move in legal, "no legal move", old, new)
    claim = move == (Status.CREATED, Status.PROCESSING)
    cancel = move[0] != move[1] and new.outcome == Outcome.CANCELLED
    demand(new.lease_seq == old.lease_seq + (claim or cancel), "a wrong fencing number", old, new)
    demand(new.run == old.run + (move == (Status.DONE, Status.CREATED)), "a wrong run", old, new)


def _check_results_kept(before: Board, after: Board) -> None:
    """A result stays as it is within its run."""
    for key, result in before.results.items():
        again = after.batches.get(result.batch_id)
        if again is None or again.run > before.batches[result.batch_id].run:
            continue
        demand(after.results.get(key) == result, "a result changed", result, after.results.get(key))


def _check_deliveries_kept(before: Board, after: Board, *, touched: bool) -> None:
    """The bytes of a delivery stay, and so does its end, unless a person asked for a try that succeeds.

    touched: tries of what has its end were asked for, or taken back.
    """
    for id, delivery in before.deliveries.items():
        now = after.deliveries.get(id)
        if now is None:
            demand(delivery.batch_id not in after.batches, "lost", delivery)
            continue
        demand(
            (now.run, now.event, now.body) == (delivery.run, delivery.event, delivery.body),
            "other bytes",
            delivery,
            now,
        )
        demand(delivery.owed or touched or now == delivery, "undone", delivery, now)
        demand(delivery.state in (State.PENDING, now.state) or now.state == State.DELIVERED, "undone", delivery, now)
        demand(now.lease_seq >= delivery.lease_seq, "the fencing number went down", delivery, now)
