"""What lets a try begin: room at its endpoint and origin, and an endpoint that is in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from broker.endpoints import Health
from broker.store.deliveries import DueOrder
from tests.stateful.board import Board, StoredDelivery, StoredEndpoint

MANY = 9


@dataclass
class Rooms:
    """An usher with room for so many tries `each` endpoint and of an `origin`."""

    each: int
    origin: int
    admitted: Counter[str] = field(default_factory=Counter)

    def fresh(self) -> Self:
        return type(self)(self.each, self.origin)

    def room(self, endpoint: str, origin: str, _workspace: str) -> int:
        return min(self.each - self.admitted[endpoint], self.origin - self.admitted[origin])

    def admit(self, endpoint: str, origin: str, _workspace: str) -> None:
        self.admitted.update((endpoint, origin))


@dataclass
class Plan:
    """What a claim does. endpoints: as they are then. more: others could have gone, had the limit not been reached."""

    go: list[StoredDelivery] = field(default_factory=list)
    hold: list[StoredDelivery] = field(default_factory=list)
    stop: list[StoredDelivery] = field(default_factory=list)
    endpoints: list[StoredEndpoint] = field(default_factory=list)
    more: bool = False


def must_wait(board: Board, order: DueOrder, going: Iterable[StoredDelivery], row: StoredDelivery) -> bool:
    """Whether its endpoint has no room, or a breaker that is not closed; that one stops no try that was asked for."""
    endpoint = board.endpoints[row.endpoint]
    stops = endpoint.condition.open_until is not None and not row.manual
    return stops or room(board, order, going, endpoint) <= 0


def room(board: Board, order: DueOrder, going: Iterable[StoredDelivery], endpoint: StoredEndpoint) -> int:
    """How many more may begin at an endpoint beside those that go."""
    rooms = order.usher
    assert isinstance(rooms, Rooms)
    places = [board.endpoints[row.endpoint] for row in going]
    each = sum(place.id == endpoint.id for place in places)
    return min(rooms.each - each, rooms.origin - sum(place.origin == endpoint.origin for place in places))


def is_disabled(endpoint: StoredEndpoint) -> bool:
    return endpoint.condition.state is Health.DISABLED


def is_open(endpoint: StoredEndpoint, now: int) -> bool:
    """Whether nothing may be sent for now."""
    return endpoint.condition.open_until is not None and endpoint.condition.open_until > now


def asked_at(board: Board, endpoint: StoredEndpoint) -> list[StoredDelivery]:
    """What is held back at an open breaker and may pass it, as a person asked for it; the longest held first."""
    if is_disabled(endpoint) or not is_open(endpoint, board.now):
        return []
    return [row for row in board.held_deliveries(endpoint.id) if row.manual]
