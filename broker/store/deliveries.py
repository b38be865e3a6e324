"""Queries that claim webhooks that are owed: what is due and has room at its endpoint."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    case,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from broker.deliveries import DueDelivery, State
from broker.endpoints import Health
from broker.store.clock import db_now
from broker.store.tables import AttemptRow, DeliveryRow, EndpointRow, table

LOOK = 200
"""Deliveries that one claim looks at, of those that are due, and of those held back of one disabled endpoint."""
ENDPOINTS = 100
"""Endpoints with deliveries held back that one claim looks at, as many of each workspace that has some; and as many
more whose breaker was open for its time."""

_deliveries, _attempts, _endpoints = table(DeliveryRow), table(AttemptRow), table(EndpointRow)
_chance = random.SystemRandom()


class Usher(Protocol):
    """Says how many tries there may be at once. Called while rows are locked, on the writer's thread."""

    def fresh(self) -> Self:
        """One that has admitted nothing yet: a claim that is rolled back is made again."""

    def room(self, endpoint: str, origin: str, workspace: str) -> int:
        """How many more tries of this endpoint may begin now; none if that is below 1."""

    def admit(self, endpoint: str, origin: str, workspace: str) -> None:
        """One begins."""


@dataclass(frozen=True, slots=True)
class DueOrder:
    """Claim up to `limit` due deliveries for `lease_ms`, longer than one try may take.

    due_first: before those that are held; where slots are scarce, the one who comes second may get none.
    """

    limit: int
    lease_ms: int
    usher: Usher
    due_first: bool = False


@dataclass(frozen=True, slots=True)
class Claimed:
    """more: the claim did not get to the end of what is due, so another should follow at once.

    Not where nothing could be moved: that would be so again. waits: some is held, for which the next end of a try may
    make room.
    """

    deliveries: tuple[DueDelivery, ...]
    more: bool
    waits: bool


def claim_deliveries(connection: Connection, orders: Sequence[DueOrder]) -> list[Claimed]:
    """Claim due deliveries and write the row of the attempt that follows, before anything is sent.

    What is due at an endpoint that has no room, or whose breaker is open, is held back: it leaves the queue, so that
    nobody else's deliveries wait behind it, and is taken up again, the longest due first, when there is room. What is
    due at a disabled endpoint is stopped.
    """
    return [_Claim(connection, order).claim() for order in orders]


class _Claim:
    """One claim: what was found, sorted into what goes, what is held and what is stopped."""

    def __init__(self, connection: Connection, order: DueOrder) -> None:
        self._connection = connection
        self._order = order
        self._usher = order.usher.fresh()
        self._glance = connection.execute(_GLANCE).one()
        self._now: int = self._glance.now
        self._go: list[str] = []
        self._origins: dict[str, str] = {}
        self._hold: list[Any] = []
        self._stop: list[str] = []
        self._probed: list[str] = []
        self._waits = False

    def claim(self) -> Claimed:
        self._take_up_asked()
        if self._order.due_first:
            more = self._take_due()
            self._take_up_held()
        else:
            self._take_up_held()
            more = self._take_due()
        moved = self._write()
        begun = tuple(self._begin())
        return Claimed(begun, more and (moved or bool(begun)), self._waits or bool(self._hold))

    def _take_up_asked(self) -> None:
        """What a person asked for passes an open breaker too when it is held back, as soon as there is room."""
        if self._glance.asked is None:
            return
        asked = list(self._connection.scalars(_ASKED))
        chosen = _chance.sample(asked, min(len(asked), ENDPOINTS))
        for endpoint in self._connection.execute(_BROKEN.where(_endpoints.c.id.in_(chosen)), {"now": self._now}):
            room = self._room(endpoint)
            if room > 0:
                for row in self._connection.execute(_HELD_ASKED, {"endpoint": endpoint.id, "limit": room}):
                    self._admit(row.id, endpoint.id, endpoint.origin, endpoint.workspace_id)

    def _take_up_held(self) -> None:
        emptied = []
        holding = 0
        for endpoint in self._holding():
            holding += 1
            disabled = endpoint.state == Health.DISABLED
            room = LOOK if disabled else self._room(endpoint)
            if endpoint.open_until is not None and not disabled:
                room = min(room, 1)  # one call probes an endpoint whose breaker has been open for its time
            if room <= 0:
                continue
            rows = self._connection.execute(_HELD, {"endpoint": endpoint.id, "limit": room}).all()
            if len(rows) < room:
                emptied.append(endpoint.id)
            if disabled:
                self._stop += [row.id for row in rows]
                continue
            for row in rows:
                self._admit(row.id, endpoint.id, endpoint.origin, endpoint.workspace_id)
            if rows and endpoint.open_until is not None:
                self._probed.append(endpoint.id)
        self._waits = holding > len(emptied)
        if emptied:
            self._connection.execute(_EMPTIED.where(_endpoints.c.id.in_(emptied)))

    def _holding(self) -> Iterator[Row[Any]]:
        """Some endpoints of every workspace, at random, or the first ones would have all the room of a busy process."""
        if self._glance.holding is None:
            return
        workspaces = list(self._connection.scalars(_WORKSPACES))
        chosen = _chance.sample(workspaces, min(len(workspaces), ENDPOINTS))
        for workspace in chosen:
            yield from self._some_of(workspace, ENDPOINTS // len(chosen))

    def _some_of(self, workspace: str, limit: int) -> list[Row[Any]]:
        """Ids are as random as the point from which on they are read. Open breakers are passed over by their index."""
        given = {"workspace": workspace, "point": f"{_chance.getrandbits(128):032x}"}
        rows = [*self._connection.execute(_READY_FROM, {**given, "limit": limit})]
        if len(rows) < limit:
            rows += self._connection.execute(_READY_BEFORE, {**given, "limit": limit - len(rows)})
        rows += self._connection.execute(_TO_PROBE, {"now": self._now, "workspace": workspace, "limit": limit})
        _chance.shuffle(rows)
        return rows

    def _room(self, endpoint: Any) -> int:
        room = self._usher.room(endpoint.id, endpoint.origin, endpoint.workspace_id)
        return min(room, self._order.limit - len(self._go))

    def _take_due(self) -> bool:
        """Whether more may be due than this has looked at."""
        if self._glance.due is None or self._glance.due > self._now:
            return False
        rows = self._connection.execute(_DUE, {"now": self._now, "limit": LOOK}).all()
        for row in rows:
            if row.health == Health.DISABLED:
                self._stop.append(row.id)
            elif not self._may_go(row):
                self._hold.append(row)
            elif len(self._go) == self._order.limit:
                return True
            else:
                self._admit(row.id, row.endpoint, row.origin, row.workspace_id)
        return len(rows) == LOOK

    def _may_go(self, row: Any) -> bool:
        """An open breaker stops all tries but those that a person asked for."""
        if row.open_until is not None and not row.manual:
            return False
        return self._usher.room(row.endpoint, row.origin, row.workspace_id) > 0

    def _admit(self, id: str, endpoint: str, origin: str, workspace: str) -> None:
        self._usher.admit(endpoint, origin, workspace)
        self._go.append(id)
        self._origins[endpoint] = origin

    def _write(self) -> bool:
        """Whether anything has left the queue by it."""
        if self._stop:
            self._connection.execute(_STOP.where(_deliveries.c.id.in_(self._stop)))
        if self._probed:
            until = {"until": self._now + self._order.lease_ms}
            self._connection.execute(_PROBE.where(_endpoints.c.id.in_(self._probed)), until)
        return self._hold_back() or bool(self._stop)

    def _hold_back(self) -> bool:
        """What is due at an endpoint that another claim has in its hands stays due, for the next look."""
        if not self._hold:
            return False
        lock = _LOCK.where(_endpoints.c.id.in_({row.endpoint for row in self._hold}))
        mine = set(self._connection.scalars(lock))
        held = [row.id for row in self._hold if row.endpoint in mine]
        if held:
            self._connection.execute(_HOLD.where(_deliveries.c.id.in_(held)))
            self._connection.execute(_HOLDS.where(_endpoints.c.id.in_(mine)))
        return bool(held)

    def _begin(self) -> list[DueDelivery]:
        if not self._go:
            return []
        claim = _CLAIM.where(_deliveries.c.id.in_(self._go))
        rows = self._connection.execute(claim, {"lease_ms": self._order.lease_ms}).all()
        begun = [{"delivery_id": row.id, "number": row.attempts, "manual": row.manual} for row in rows]
        self._connection.execute(_BEGIN, begun)
        return [_due_delivery(row, self._origins[row.endpoint]) for row in rows]


OWED = or_(_deliveries.c.state == State.PENDING, _deliveries.c.manual)
"""A try will follow: by the schedule, or because a person asked for it."""

_DUE = (
    select(
        *(_deliveries.c.id, _deliveries.c.workspace_id, _deliveries.c.endpoint, _deliveries.c.manual),
        *(_endpoints.c.origin, _endpoints.c.state.label("health"), _endpoints.c.open_until),
    )
    .join(_endpoints, _endpoints.c.id == _deliveries.c.endpoint)
    .where(_deliveries.c.due <= bindparam("now", type_=BigInteger), OWED)
    .order_by(_deliveries.c.due, _deliveries.c.id)
    .limit(bindparam("limit"))
    .with_for_update(of=_deliveries, skip_locked=True)
)
_holding = _endpoints.c.holding == literal_column("true")  # as the index spells it
_asked = and_(_deliveries.c.manual == literal_column("true"), _deliveries.c.held.is_not(None))


def _first(column: ColumnElement[Any], condition: ColumnElement[bool]) -> Select[Any]:
    return select(column).where(condition).order_by(column).limit(1)


def _each(column: ColumnElement[str], condition: ColumnElement[bool]) -> Select[Any]:
    """Each value of an indexed column once: from one to the next by the index, however many rows each has."""
    first = _first(column, condition)
    walk = select(first.scalar_subquery().label("id")).cte(recursive=True)
    following = first.where(column > walk.c.id).correlate(walk)
    walk = walk.union_all(select(following.scalar_subquery()).where(walk.c.id.is_not(None)))
    return select(walk.c.id).where(walk.c.id.is_not(None))


_GLANCE = select(
    db_now().label("now"),
    _first(_deliveries.c.endpoint, _asked).scalar_subquery().label("asked"),
    _first(_endpoints.c.workspace_id, _holding).scalar_subquery().label("holding"),
    _first(_deliveries.c.due, _deliveries.c.due.is_not(None)).scalar_subquery().label("due"),
)
"""Most claims find nothing, and need this one statement to know it."""
_WORKSPACES = _each(_endpoints.c.workspace_id, _holding)
_ASKED = _each(_deliveries.c.endpoint, _asked)
_BROKEN = select(*(_endpoints.c.id, _endpoints.c.workspace_id, _endpoints.c.origin)).where(
    _endpoints.c.open_until > bindparam("now", type_=BigInteger)  # none that is disabled, which closes the breaker
)
_HOLDING = (
    select(
        *(_endpoints.c.id, _endpoints.c.workspace_id, _endpoints.c.origin),
        *(_endpoints.c.state, _endpoints.c.open_until),
    )
    .where(_holding, _endpoints.c.workspace_id == bindparam("workspace"))
    .limit(bindparam("limit"))
    .with_for_update(key_share=True, skip_locked=True)  # a delivery may be born there meanwhile
)
_READY = _HOLDING.where(_endpoints.c.open_until.is_(None)).order_by(_endpoints.c.id)
_READY_FROM = _READY.where(_endpoints.c.id >= bindparam("point"))
_READY_BEFORE = _READY.where(_endpoints.c.id < bindparam("point"))
_TO_PROBE = _HOLDING.where(_endpoints.c.open_until <= bindparam("now", type_=BigInteger)).order_by(
    _endpoints.c.open_until
)
_HELD = (
    select(_deliveries.c.id)
    .where(_deliveries.c.endpoint == bindparam("endpoint"), _deliveries.c.held.is_not(None), OWED)
    .order_by(_deliveries.c.held, _deliveries.c.id)
    .limit(bindparam("limit"))
    .with_for_update()  # waits, as one that is skipped would be forgotten when `holding` is taken back
)
_HELD_ASKED = (
    select(_deliveries.c.id)
    .where(_deliveries.c.endpoint == bindparam("endpoint"), _asked)
    .order_by(_deliveries.c.held, _deliveries.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_LOCK = select(_endpoints.c.id).with_for_update(key_share=True, skip_locked=True)  # two claims may want each other's
_HOLDS = update(_endpoints).values(holding=True)
_EMPTIED = update(_endpoints).values(holding=False)
_PROBE = update(_endpoints).values(open_until=bindparam("until", type_=BigInteger))
_HOLD = update(_deliveries).values(held=_deliveries.c.due, due=None)
_STOP = update(_deliveries).values(
    state=case((_deliveries.c.state == State.PENDING, State.STOPPED.value), else_=_deliveries.c.state),
    finished=case((_deliveries.c.state == State.PENDING, db_now()), else_=_deliveries.c.finished),
    manual=False,
    due=None,
    held=None,
    scheduled=None,
)
_CLAIM = (
    update(_deliveries)
    .values(
        lease_seq=_deliveries.c.lease_seq + 1,
        attempts=_deliveries.c.attempts + 1,
        step=_deliveries.c.step + case((_deliveries.c.manual, 0), else_=1),
        due=db_now() + bindparam("lease_ms", type_=BigInteger),
        held=None,
    )
    .returning(_deliveries)
)
_BEGIN = insert(_attempts).values(started=db_now())


def _due_delivery(row: Any, origin: str) -> DueDelivery:
    return DueDelivery(
        id=row.id,
        batch=row.batch_id,
        workspace=row.workspace_id,
        endpoint=row.endpoint,
        origin=origin,
        target=row.target,
        body=row.body,
        lease_seq=row.lease_seq,
        attempt=row.attempts,
        step=row.step,
        hurried=row.hurried,
        manual=row.manual,
        state=State(row.state),
    )
