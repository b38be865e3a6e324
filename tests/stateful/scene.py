"""What the processes of the fleet remember: leases that they were given, deliveries that they are to send."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias, TypeVar

from hypothesis import strategies as st

from broker.batches import Result, new_id
from broker.deliveries import DueDelivery, State
from broker.store.claims import Claim
from broker.store.ends import Ended
from broker.store.leases import Lease
from tests.stateful.board import Board, StoredBatch, StoredDelivery, StoredEndpoint

T = TypeVar("T")
Pick: TypeAlias = Annotated[int, st.sampled_from([0, 0, 0, 1, 1, 2, 3, 5])]
"""Which of those that there are; 0 is the newest."""
Mostly: TypeAlias = Annotated[bool, st.sampled_from([True, True, True, False])]

PLAIN, CHILD, FOLDER = TYPES = ("plain", "child", "folder")
HOOKS = (b"one", b"two")
"""Targets of webhooks; what the workspaces send to the same one has its origin in common."""
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
    hook: bytes | None = None
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
            hook=batch.webhook,
            parent=batch.parent,
            careful=claim.careful,
            stored={result.index: result for result in claim.results},
        )

    @property
    def open_places(self) -> list[int]:
        """Of records that have no result yet, as far as the worker knows."""
        return [place for place in range(self.size) if place not in self.stored and place not in self.fresh]

    def make(self, place: int, code: int) -> Result:
        """The result of a record; a worker has one a record."""
        if place in self.stored:
            return self.stored[place]
        request = made_id(self.lease.batch, self.lease.seq, place)
        return self.fresh.setdefault(place, Result(place, code, "OK", request))

    def keep(self, results: Sequence[Result]) -> None:
        """These are stored for sure."""
        for result in results:
            self.stored[result.index] = self.fresh.pop(result.index, result)


@dataclass(slots=True)
class Scene:
    """workspaces: ids of all that there are. sendings: tries that were ever begun.

    board: as it was read last; crowded for what is done next. family: what that is to be about, None = anything.
    """

    board: Board
    workspaces: tuple[str, ...]
    hands: list[Hand] = field(default_factory=list)
    sendings: list[DueDelivery] = field(default_factory=list)
    family: frozenset[str] | None = None

    def gather(self, pick: int | None) -> None:
        """Let all that is done next be about one batch or one parent with its children; None: about anything."""
        heads = sorted((batch.id for batch in self.board.batches.values() if batch.parent_id is None), reverse=True)
        head = None if pick is None else _pick(heads, pick)
        self.family = None if head is None else frozenset([head, *(one.id for one in self.board.children_of(head))])

    def batch(self, pick: int, fits: Callable[[StoredBatch], bool], *, apt: bool) -> str | None:
        """The id of a batch that fits; if none need be apt, of any, or one that nobody has."""
        batches = [batch for _, batch in sorted(self.board.batches.items(), reverse=True) if self._concerns(batch.id)]
        if apt:
            return _pick([batch.id for batch in batches if fits(batch)], pick)
        return _pick([batch.id for batch in batches], pick) or new_id()

    def hand(self, pick: int, fits: Callable[[Hand], bool], *, held: bool) -> Hand | None:
        """A claim that fits and is held; if it need not be, one that another claim has overtaken, or any, or none.

        None: there is none that is held.
        """
        hands = [hand for hand in reversed(self.hands) if fits(hand) and self._concerns(hand.lease.batch)]
        if held:
            return _pick([hand for hand in hands if self.board.holder(hand.lease)], pick)
        overtaken = [hand for hand in hands if self._is_overtaken(hand)]
        return _pick(overtaken or hands, pick) or Hand(WORKERS[0], Lease(new_id(), 1), PLAIN)

    def _is_overtaken(self, hand: Hand) -> bool:
        batch = self.board.batches.get(hand.lease.batch)
        return batch is not None and batch.lease_owner is not None and batch.lease_seq != hand.lease.seq

    def sending(self, pick: int, *, apt: bool) -> DueDelivery | None:
        """A try that was begun and is waited for; if it need not be, one that another has overtaken, or any, or none.

        None: there is none that is waited for.
        """
        latest = [one for one in reversed(self.sendings) if self._concerns(one.batch)]
        if apt:
            return _pick([one for one in latest if self.board.awaits(one.id, one.lease_seq)], pick)
        nothing = DueDelivery(
            id=new_id(),
            batch=new_id(),
            workspace=self.workspaces[0],
            endpoint="nowhere",
            origin="",
            target=b"",
            body=b"",
            lease_seq=1,
            attempt=1,
            step=1,
            hurried=False,
            manual=False,
            state=State.PENDING,
        )
        owed = [one for one in latest if one.id in self.board.deliveries]
        overtaken = [one for one in owed if self.board.deliveries[one.id].lease_seq != one.lease_seq]
        return _pick(overtaken or latest, pick) or nothing

    def learn_of(self, ended: Ended | None) -> None:
        """A webhook may be begun by its birth."""
        if ended is not None and ended.begun is not None:
            self.sendings.append(ended.begun)

    def forget(self, sending: DueDelivery) -> None:
        """Nothing more comes of this try."""
        self.sendings[:] = [one for one in self.sendings if one is not sending]

    def delivery(self, pick: int, fits: Callable[[StoredDelivery], bool], *, apt: bool) -> str | None:
        """The id of a delivery that fits; if none need be apt, of any, or one that nobody has."""
        rows = [row for row in self.board.deliveries.values() if self._concerns(row.batch_id)]
        rows.sort(key=lambda row: (row.batch_id or "", row.run), reverse=True)
        if apt:
            return _pick([row.id for row in rows if fits(row)], pick)
        return _pick([row.id for row in rows], pick) or new_id()

    def endpoint(self, pick: int, fits: Callable[[StoredEndpoint], bool], *, apt: bool) -> str | None:
        """The id of an endpoint that fits, whomever it concerns; if none need be apt, of any, or an unknown one.

        Those that hold something back come first.
        """
        endpoints = sorted(self.board.endpoints.values(), key=lambda endpoint: (not endpoint.holding, endpoint.id))
        if apt:
            return _pick([endpoint.id for endpoint in endpoints if fits(endpoint)], pick)
        return _pick([endpoint.id for endpoint in endpoints], pick) or "nowhere"

    def _concerns(self, batch: str | None) -> bool:
        return self.family is None or batch in self.family


def is_plain(one: Hand | StoredBatch) -> bool:
    """Whether it has records of its own."""
    return one.type != FOLDER


def is_folder(one: Hand | StoredBatch) -> bool:
    return one.type == FOLDER


def _pick(choices: Sequence[T], pick: int) -> T | None:
    return choices[pick % len(choices)] if choices else None
