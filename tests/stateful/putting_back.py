"""Webhooks that were claimed and found no turn at their endpoint: due as if nobody had claimed them, without a try."""

from __future__ import annotations

from dataclasses import dataclass, replace

from broker.deliveries import DueDelivery
from broker.store.put_back import put_back_deliveries
from tests.stateful.board import Board
from tests.stateful.promise import About, Act, demand
from tests.stateful.scene import Mostly, Pick, Scene


@dataclass(frozen=True)
class PuttingBack:
    sending: Pick
    apt: Mostly

    def act(self, scene: Scene) -> Act[DueDelivery, bool] | None:
        """A sender does so once, and with no try that has an end."""
        sending = scene.sending(self.sending, apt=self.apt)
        if sending is None or has_ended(scene.board, sending):
            return None
        scene.forget(sending)
        return Act(put_back_deliveries, sending, put_back)


def has_ended(board: Board, sending: DueDelivery) -> bool:
    attempt = board.attempts.get((sending.id, sending.attempt))
    return attempt is not None and attempt.duration_ms is not None


def put_back(board: Board, item: DueDelivery, told: bool) -> Board:
    """What is owed no more stays as it is, but for the try. A lost claim puts nothing back."""
    row = board.deliveries.get(item.id)
    mine = row is not None and row.lease_seq == item.lease_seq
    demand(told == mine, f"{told} about {item}")
    if row is None or not mine:
        return board
    back = replace(
        row,
        attempts=row.attempts - 1,
        step=row.step - (not item.manual),
        due=About(board.now) if row.owed else None,
        held=None,
    )
    return board.without_attempt(item.id, item.attempt).put(back)
