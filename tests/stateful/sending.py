"""Webhooks: senders claim what is due and tell what a try brought, some of them late."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from hypothesis import strategies as st

from broker.deliveries import AttemptResult, State
from broker.store.attempts import Recorded, Report, record_attempts
from broker.store.deliveries import Claimed, DueOrder, claim_deliveries
from tests.integration.store.rows import Rooms
from tests.stateful.board import Board, StoredAttempt, StoredDelivery
from tests.stateful.promise import HOUR, About, Act, demand
from tests.stateful.scene import Mostly, Pick, Scene
from tests.stateful.working import Pause

STATES = (State.DELIVERED, State.PENDING, State.PENDING, State.EXHAUSTED)


@dataclass(frozen=True)
class Sending:
    limit: Annotated[int, st.integers(1, 2)]
    apt: Mostly

    def act(self, scene: Scene) -> Act[DueOrder, Claimed] | None:
        if self.apt and not _due(scene.board):
            return None
        order = DueOrder(self.limit, HOUR, Rooms())
        return Act(claim_deliveries, order, begun, lambda claimed: scene.sendings.extend(claimed.deliveries))


def begun(board: Board, order: DueOrder, claimed: Claimed) -> Board:
    """The row of each attempt is there before anything is sent, and the bytes are always the same."""
    tries = claimed.deliveries
    due = _due(board)
    ids = {one.id for one in tries}
    chosen = [row for row in due if row.id in ids]
    demand(len(chosen) == len(tries) <= order.limit, "a delivery was claimed that is not due")
    if not board.crowded and not any(isinstance(row.due, About) for row in due):
        demand(chosen == due[: order.limit], f"{chosen} are not the first of {due}")
    told = {(one.id, one.lease_seq, one.attempt, one.body) for one in tries}
    demand(told == {(r.id, r.lease_seq + 1, r.attempts + 1, r.body) for r in chosen}, f"{told} about {chosen}")
    for row in chosen:
        board = board.put(
            replace(
                row,
                lease_seq=row.lease_seq + 1,
                attempts=row.attempts + 1,
                step=row.step + 1,
                due=About(board.now + order.lease_ms),
            ),
            StoredAttempt(row.id, row.attempts + 1, About(board.now), None, None),
        )
    return board


def _due(board: Board) -> list[StoredDelivery]:
    owed = [row for row in board.deliveries.values() if row.state == State.PENDING and row.due is not None]
    return sorted((row for row in owed if (row.due or 0) <= board.now), key=lambda row: (row.due, row.id))


@dataclass(frozen=True)
class Settling:
    sending: Pick
    apt: Mostly
    state: Annotated[State, st.sampled_from(STATES)]
    pause_ms: Pause
    hurry: bool

    def act(self, scene: Scene) -> Act[Report, Recorded] | None:
        sending = scene.sending(self.sending, apt=self.apt)
        if sending is None:
            return None
        result = AttemptResult(
            delivery=sending.id,
            endpoint=sending.endpoint,
            lease_seq=sending.lease_seq,
            attempt=sending.attempt,
            state=self.state,
            status_code=200 if self.state is State.DELIVERED else 500,
            error=None,
            response="",
            duration_ms=1,
            pause_ms=self.pause_ms,
            hurry=self.hurry,
        )
        return Act(record_attempts, Report(result), settled)


def settled(board: Board, report: Report, told: Recorded) -> Board:
    """The attempt is complete whatever became of its delivery, which only the last claim moves, and only once."""
    item = report.result
    mine = board.awaits(item.delivery, item.lease_seq)
    demand(told.settled == mine, f"{told} about {item}")
    attempt = board.attempts.get((item.delivery, item.attempt))
    if attempt is not None:
        board = board.put(replace(attempt, duration_ms=item.duration_ms, status_code=item.status_code))
    return board.put(_moved(board, board.deliveries[item.delivery], item)) if mine else board


def _moved(board: Board, row: StoredDelivery, item: AttemptResult) -> StoredDelivery:
    return replace(
        row,
        state=item.state,
        step=row.step - item.hurry,
        hurried=row.hurried or item.hurry,
        due=About(board.now + item.pause_ms) if item.state is State.PENDING else None,
        finished=None if item.state is State.PENDING else About(board.now),
    )
