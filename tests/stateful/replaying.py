"""Webhooks that a person asks for once more: one try, now, whatever became of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from broker.deliveries import State
from broker.endpoints import Health
from broker.store.delivery_lists import StoredDelivery as Shown
from broker.store.replays import DISABLED, SENDING, NotReplayed, ReplayOrder, replay_deliveries
from tests.stateful.board import Board, StoredDelivery
from tests.stateful.promise import HOUR, About, Act, demand
from tests.stateful.scene import Mostly, Pick, Scene


@dataclass(frozen=True)
class Replaying:
    delivery: Pick
    apt: Mostly

    def act(self, scene: Scene) -> Act[ReplayOrder, Shown | NotReplayed | None] | None:
        id = scene.delivery(self.delivery, lambda row: _refusal(scene.board, row) is None, apt=self.apt)
        return None if id is None else Act(replay_deliveries, ReplayOrder(id, scene.workspaces, HOUR), replayed)


def replayed(board: Board, order: ReplayOrder, told: Shown | NotReplayed | None) -> Board:
    """Due at once, with a number that no earlier try has; not while it is sent, nor at a disabled endpoint.

    One that was asked for already, and is due, stays as it is. A pending one remembers when its schedule's next try is
    due.
    """
    row = board.deliveries.get(order.delivery)
    if row is None:
        demand(told is None, "what is not there was replayed", told)
        return board
    refusal = _refusal(board, row)
    if refusal is not None:
        demand(told == refusal, f"{told} instead of {refusal}")
        return board
    demand(isinstance(told, Shown) and told.id == row.id, "another delivery than was asked for", told)
    if row.manual and row.due is not None:
        return board
    asked = replace(row, manual=True, due=About(board.now), held=None, lease_seq=row.lease_seq + 1)
    if row.state != State.PENDING or row.manual:
        return board.put(asked)
    return board.put(replace(asked, scheduled=row.held if row.due is None else row.due))


def _refusal(board: Board, row: StoredDelivery) -> NotReplayed | None:
    if board.endpoints[row.endpoint].condition.state is Health.DISABLED:
        return NotReplayed(DISABLED.format(row.endpoint))
    return NotReplayed(SENDING) if _is_sending(board, row) else None


def _is_sending(board: Board, row: StoredDelivery) -> bool:
    """Whether the last try has no end yet, and its time is not over; one that is held was due again."""
    last = board.attempts.get((row.id, row.attempts))
    if last is None or last.duration_ms is not None or row.held is not None:
        return False
    return (last.started + HOUR if row.due is None else row.due) > board.now
