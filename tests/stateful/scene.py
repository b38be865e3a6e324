"""What the processes of the fleet remember: leases that they were given, deliveries that they are to send."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias, TypeVar

from hypothesis import strategies as st

from broker.batches import Result, new_id
from broker.deliveries import DueDelivery
from broker.store.claims import Claim
from broker.store.leases import Lease
from tests.stateful.board import Board, StoredBatch

T = TypeVar("T")
Pick: TypeAlias = Annotated[int, st.integers(0, 5)]
"""Which of those that there are; 0 is the newest."""
Mostly: TypeAlias = Annotated[bool, st.sampled_from([True, True, True, False])]

FOLDER = "folder"
PLAIN_TYPES = ("plain", "other")
TYPES = (*PLAIN_TYPES, FOLDER)
WORKERS = ("worker 1", "worker 2", "worker 3")


def made_id(*parts: object) -> str:
    """The same id for the same parts, so that it can be foretold."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(map(str, parts))))


@dataclass(slots=True)
class Hand:
    """A claim as its worker remembers it, long after it was lost. stored, fresh: results by place."""

    owner: str
    lease: Lease
    type: str
    run: int = 1
    size: int = 1
    workspace: str = ""
    hooked: bool = False
    parent: str | None = None
    careful: bool = False
    stored: dict[int, Result] = field(default_factory=dict)
    fresh: dict[int, Result] = field(default_factory=dict)

    @classmethod
    def of(cls, owner: str, claim: Claim) -> Hand:
        batch = claim.batch
        return cls(
            owner=owner,
            lease=claim.lease,
            type=batch.type,
            run=batch.run,
            size=len(batch.records),
            workspace=batch.workspace,
            hooked=batch.webhook is not None,
            parent=batch.parent,
            careful=claim.careful,
            stored={result.index: result for result in claim.results},
        )

    @property
    def open_places(self) -> list[int]:
        """Of records that have no result yet, as far as the worker knows."""
        return [place for place in range(self.size) if place not in self.stored and place not in self.fresh]

    def make(self, place: int, code: int) -> Result:
        """The result of a record under this lease; a worker has one a record."""
        return self.fresh.setdefault(place, Result(place, code, "OK", made_id(*self._key, place)))

    @property
    def _key(self) -> tuple[object, ...]:
        return (self.lease.batch, self.lease.seq)


@dataclass(slots=True)
class Scene:
    """board: as it was read last. workspaces: ids of all that there are. sendings: tries that were ever begun."""

    board: Board
    workspaces: tuple[str, ...]
    hands: list[Hand] = field(default_factory=list)
    sendings: list[DueDelivery] = field(default_factory=list)

    def batch(self, pick: int, *statuses: str, types: Sequence[str] = TYPES) -> str:
        """The id of a batch, of those with such a status if there are any; one that nobody has if there is none."""
        batches = [batch for batch in self.board.batches.values() if batch.type in types]
        fitting = [batch for batch in batches if batch.status in statuses] or batches
        return _pick(sorted((batch.id for batch in fitting), reverse=True), pick) or new_id()

    def hand(self, pick: int, *, held: bool, types: Sequence[str] = PLAIN_TYPES, careful: bool = False) -> Hand:
        """A claim of a worker, of those that it still has if wanted; a made-up one if there is none."""
        hands = [hand for hand in reversed(self.hands) if hand.type in types and (hand.careful or not careful)]
        mine = [hand for hand in hands if held and self.board.holder(hand.lease)] or hands
        return _pick(mine, pick) or Hand(WORKERS[0], Lease(new_id(), 1), types[0])

    def row(self, id: str) -> StoredBatch | None:
        return self.board.batches.get(id)

    def sending(self, pick: int) -> DueDelivery:
        """A try that was begun; a made-up one if there is none."""
        nothing = DueDelivery(new_id(), new_id(), self.workspaces[0], b"", b"", 1, 1, 1, hurried=False)
        return _pick(self.sendings[::-1], pick) or nothing


def _pick(choices: Sequence[T], pick: int) -> T | None:
    return choices[pick % len(choices)] if choices else None
