"""What takes workers down: leases that are over, failures that nobody foresaw, and sweepers that watch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, TypeAlias

from hypothesis import strategies as st

from broker.batches import Status
from broker.store.crashes import (
    GIVEN_UP_CODE,
    GIVEN_UP_TEXT,
    MAX_BLIND,
    MAX_DOUBTS,
    Crash,
    Look,
    Rescued,
    RescueOrder,
    count_crashes,
    rescue_batches,
)
from tests.stateful.board import Board, StoredBatch, StoredResult
from tests.stateful.promise import ANY_ID, HOUR, MINUTE, About, Act, demand
from tests.stateful.scene import Mostly, Pick, Scene
from tests.stateful.working import LEASE_MS, waiting

MaxCrashes: TypeAlias = Annotated[int, st.sampled_from([2, 3])]
"""Where the setting is changed, some processes have the old one for a while."""
WATCHED_MS = {"always": 10**12, "always, too": 10**12, "for a while": 90 * MINUTE, "not long enough": 0}
FOR_EVER = 2**52


@dataclass(frozen=True)
class Rescuing:
    """A sweeper looks. watched: how long it has reached the database; in_time: its order had not to wait."""

    limit: Annotated[int, st.integers(1, 4)]
    watched: Annotated[str, st.sampled_from(list(WATCHED_MS))]
    in_time: Mostly
    max_crashes: MaxCrashes
    apt: Mostly

    def act(self, scene: Scene) -> Act[RescueOrder, Look] | None:
        if self.apt and not _over(scene.board):
            return None
        now = scene.board.now
        since = max(0, now - WATCHED_MS[self.watched])
        until = FOR_EVER if self.in_time else now - 1
        return Act(rescue_batches, RescueOrder(self.limit, LEASE_MS, since, until, self.max_crashes), rescued)


def rescued(board: Board, order: RescueOrder, look: Look) -> Board:
    """Batches whose lease is over wait again, the sweeper having watched for a lease at least."""
    demand(board.now <= look.now <= board.until, "a clock of its own")
    over = _over(board)
    watched = order.since + order.lease_ms <= look.now <= order.until
    ids = [one.id for one in look.rescued]
    chosen = [batch for batch in over if batch.id in ids]
    demand([batch.id for batch in chosen] == ids, "rescued without need")
    if not watched or not board.crowded:
        wanted = over[: order.limit] if watched else []
        demand(chosen == wanted, f"rescued {chosen} instead of {wanted}")
    for batch, told in zip(chosen, look.rescued, strict=True):
        begun = (batch.lease_until or 0) - order.lease_ms
        board = _fall(board, batch, told, order.max_crashes, certain=begun >= order.since)
    return board


def _over(board: Board) -> list[StoredBatch]:
    """Batches whose lease is over, in the order in which they are looked at."""
    leased = [batch for _, batch in sorted(board.batches.items()) if batch.status == Status.PROCESSING]
    return [batch for batch in leased if batch.lease_until is not None and batch.lease_until < board.now]


@dataclass(frozen=True)
class Crashing:
    """A held batch fails inside its worker."""

    hand: Pick
    held: Mostly
    pause_ms: Annotated[int, st.sampled_from([0, 0, 0, HOUR])]
    max_crashes: MaxCrashes

    def act(self, scene: Scene) -> Act[Crash, Rescued | None] | None:
        hand = scene.hand(self.hand, lambda _: True, held=self.held)
        return None if hand is None else Act(count_crashes, Crash(hand.lease, self.pause_ms, self.max_crashes), crashed)


def crashed(board: Board, item: Crash, told: Rescued | None) -> Board:
    """Counted like a worker's end."""
    batch = board.holder(item.lease)
    demand((told is None) == (batch is None), f"{told} about {item.lease}")
    if batch is None or told is None:
        return board
    return _fall(board, batch, told, item.max_crashes, certain=True, pause_ms=item.pause_ms)


def _fall(
    board: Board, batch: StoredBatch, told: Rescued, max_crashes: int, *, certain: bool, pause_ms: int = 0
) -> Board:
    """A batch whose run ended badly waits again; the record that used up its crashes gets an error result."""
    crashes = batch.crashes + 1 if certain or batch.crashes == 0 else batch.crashes
    doubts = batch.doubts + 1 if batch.suspect is not None and not certain else batch.doubts
    known = board.results_of(batch.id)
    left = [place for place in range(batch.size) if place not in known]
    guilty = None
    if doubts >= MAX_DOUBTS or (certain and crashes >= max_crashes):
        blind = certain and crashes >= max_crashes + MAX_BLIND
        guilty = batch.suspect if batch.suspect in left else left[0] if len(left) == 1 or (left and blind) else None
    demand(told == Rescued(batch.id, batch.type, crashes, guilty), f"{told} about {batch} with {left} left")
    fallen = replace(waiting(batch, board.now, pause_ms), crashes=crashes, doubts=doubts)
    if guilty is None:
        return board.put(fallen)
    result = StoredResult(
        batch_id=batch.id,
        position=guilty,
        run=batch.run,
        lease_seq=batch.lease_seq,
        code=GIVEN_UP_CODE,
        text=GIVEN_UP_TEXT,
        request_id=ANY_ID,
        finished=About(board.now),
    )
    blamed = 1 if batch.suspect == guilty else crashes
    rest = replace(fallen, crashes=0 if left == [guilty] else blamed, doubts=0, suspect=None, due=About(board.now))
    return board.put(rest, result)
