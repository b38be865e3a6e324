"""The health of endpoints: what tries of other deliveries say about them, and who makes them healthy again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from hypothesis import strategies as st
from sqlalchemy import Connection

from broker.endpoints import LEAST_CALLS, OPEN_MS, Call, Health, after, enabled
from broker.store.endpoints import enable_endpoints, note_calls
from tests.stateful.board import Board, StoredEndpoint
from tests.stateful.promise import About, Act, demand
from tests.stateful.scene import Mostly, Pick, Scene

BURSTS = (Call.FAILED, Call.FAILED, Call.UNWANTED, Call.UNWANTED, Call.ANSWERED)


@dataclass(frozen=True, slots=True)
class Burst:
    """So many tries at once of deliveries that are not on the board, all with the same end."""

    endpoint: str
    call: Call
    count: int


def note_bursts(connection: Connection, bursts: Sequence[Burst]) -> list[None]:
    for burst in bursts:
        note_calls(connection, [(burst.endpoint, burst.call)] * burst.count)
    return [None] * len(bursts)


@dataclass(frozen=True)
class Bursting:
    """Enough failures open the breaker; one that says it wants no more is disabled."""

    endpoint: Pick
    call: Annotated[Call, st.sampled_from(BURSTS)]
    apt: Mostly

    def act(self, scene: Scene) -> Act[Burst, None] | None:
        id = scene.endpoint(self.endpoint, lambda one: one.condition.state is not Health.DISABLED, apt=self.apt)
        count = LEAST_CALLS if self.call is Call.FAILED else 1
        return None if id is None else Act(note_bursts, Burst(id, self.call, count), noted)


def noted(board: Board, burst: Burst, _told: None) -> Board:
    endpoint = board.endpoints.get(burst.endpoint)
    if endpoint is None:
        return board
    for _ in range(burst.count):
        endpoint = judged(endpoint, burst.call, board.now)
    return board.put(endpoint)


def judged(endpoint: StoredEndpoint, call: Call, now: int) -> StoredEndpoint:
    """An endpoint after one more try. What it holds back stays so: the next claim looks at it."""
    condition = after(endpoint.condition, call, About(now))
    if condition.open_until == now + OPEN_MS:
        condition = replace(condition, open_until=About(now + OPEN_MS))
    return replace(endpoint, condition=condition)


@dataclass(frozen=True)
class Enabling:
    endpoint: Pick
    apt: Mostly

    def act(self, scene: Scene) -> Act[str, bool] | None:
        id = scene.endpoint(self.endpoint, _is_ill, apt=self.apt)
        return None if id is None else Act(enable_endpoints, id, made_healthy)


def _is_ill(endpoint: StoredEndpoint) -> bool:
    return endpoint.condition.state is not Health.HEALTHY or endpoint.condition.open_until is not None


def made_healthy(board: Board, id: str, told: bool) -> Board:
    """All failures are forgotten, the breaker is closed; what is held back stays so."""
    endpoint = board.endpoints.get(id)
    ill = endpoint is not None and _is_ill(endpoint)
    demand(told == ill, f"{told} about {endpoint}")
    return board.put(replace(endpoint, condition=enabled(About(board.now)))) if endpoint and ill else board
