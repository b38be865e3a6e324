"""Webhooks: senders claim what is due or was held back, and tell what a try brought, some of them late."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

from hypothesis import strategies as st

from broker.deliveries import AttemptResult, DueDelivery, State
from broker.endpoints import Call, Kind, events
from broker.store.attempts import Recorded, Report, record_attempts
from broker.store.deliveries import Claimed, DueOrder, claim_deliveries
from tests.stateful.board import Board, StoredDelivery
from tests.stateful.judging import judged
from tests.stateful.promise import HOUR, About, Act, demand
from tests.stateful.rooms import MANY, Rooms
from tests.stateful.scene import Mostly, Pick, Scene
from tests.stateful.sorting import begun, moves
from tests.stateful.working import Pause


@dataclass(frozen=True)
class Sending:
    """each, origin: for how many tries there is room at an endpoint and at an origin."""

    limit: Annotated[int, st.integers(1, 3)]
    each: Annotated[int, st.sampled_from([0, 1, 1, MANY, MANY])]
    origin: Annotated[int, st.sampled_from([1, MANY, MANY])]
    due_first: bool
    apt: Mostly

    def act(self, scene: Scene) -> Act[DueOrder, Claimed] | None:
        order = DueOrder(self.limit, HOUR, Rooms(self.each, self.origin), self.due_first)
        if self.apt and not moves(scene.board, order):
            return None
        return Act(claim_deliveries, order, begun, lambda claimed: scene.sendings.extend(claimed.deliveries))


class Answer(NamedTuple):
    """What a try brought, and what that means for the delivery and for the endpoint."""

    status_code: int | None
    state: State
    call: Call | None


DELIVERED = Answer(200, State.DELIVERED, Call.ANSWERED)
FAILED = Answer(500, State.PENDING, Call.FAILED)
LAST_FAILED = Answer(500, State.EXHAUSTED, Call.FAILED)
UNWANTED = Answer(400, State.STOPPED, Call.DECLINED)
GONE = Answer(410, State.STOPPED, Call.GONE)
NOT_SENT = Answer(None, State.PENDING, None)
REFUSED = Answer(None, State.REFUSED, None)
ANSWERS = (DELIVERED, DELIVERED, FAILED, FAILED, FAILED, LAST_FAILED, UNWANTED, GONE, NOT_SENT, REFUSED)


@dataclass(frozen=True)
class Settling:
    sending: Pick
    apt: Mostly
    answer: Annotated[Answer, st.sampled_from(ANSWERS)]
    pause_ms: Pause
    hurry: bool
    unsent: bool

    def act(self, scene: Scene) -> Act[Report, Recorded] | None:
        sending = scene.sending(self.sending, apt=self.apt)
        if sending is None:
            return None
        result = AttemptResult(
            delivery=sending.id,
            endpoint=sending.endpoint,
            lease_seq=sending.lease_seq,
            attempt=sending.attempt,
            state=self._state(sending),
            status_code=self.answer.status_code,
            error=None,
            response=b"",
            duration_ms=1,
            pause_ms=self.pause_ms,
            call=self.answer.call,
            hurry=self.hurry and not sending.manual,
            unsent=self.unsent and not sending.manual,
            was=sending.state,
        )
        return Act(record_attempts, Report(result), settled)

    def _state(self, sending: DueDelivery) -> State:
        """What had come to its end before a person asked for this try keeps it, unless that one succeeds."""
        ended = sending.state is not State.PENDING and self.answer.state is not State.DELIVERED
        return sending.state if ended else self.answer.state


def settled(board: Board, report: Report, told: Recorded) -> Board:
    """The attempt is complete whatever became of its delivery, which only the last claim moves, and only once.

    What moves its delivery counts for its endpoint.
    """
    item = report.result
    mine = board.awaits(item.delivery, item.lease_seq)
    demand(told.settled == mine, f"{told} about {item}")
    attempt = board.attempts.get((item.delivery, item.attempt))
    if attempt is not None:
        board = board.put(replace(attempt, duration_ms=item.duration_ms, status_code=item.status_code))
    if not mine:
        demand(told.events == (), f"{told} of a try that changes nothing")
        return board
    row = board.deliveries[item.delivery]
    before = board.endpoints[row.endpoint]
    after = before if item.call is None else judged(before, item.call, board.now)
    kinds = [*events(before.condition, after.condition), *_ends(item)]
    demand([event.kind for event in told.events] == kinds, f"{told} instead of {kinds}")
    return board.put(_moved(board, row, item), after)


def _ends(item: AttemptResult) -> list[Kind]:
    """What is told of a delivery that is given up."""
    if item.was is not State.PENDING:
        return []
    return {State.EXHAUSTED: [Kind.EXHAUSTED], State.REFUSED: [Kind.REFUSED]}.get(item.state, [])


def _moved(board: Board, row: StoredDelivery, item: AttemptResult) -> StoredDelivery:
    """A try that a person asked for leaves the schedule's next one where it was."""
    finished = row.finished if item.state == row.state else About(board.now)
    following = About(board.now + item.pause_ms) if row.scheduled is None else row.scheduled
    return replace(
        row,
        state=item.state,
        step=row.step - (item.hurry or item.unsent),
        hurried=row.hurried or item.hurry,
        manual=False,
        due=following if item.state is State.PENDING else None,
        held=None,
        scheduled=None,
        finished=None if item.state is State.PENDING else finished,
    )
