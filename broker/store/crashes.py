"""Queries about batches that took workers down: rescue what they left, find the guilty record, give it up."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    Row,
    Select,
    Update,
    bindparam,
    case,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from broker.batches import Result, Status, new_id
from broker.store.children import FIRST_COMPLETE
from broker.store.claims import FIRST_WAITING
from broker.store.clock import db_now, read_clock
from broker.store.columns import Id
from broker.store.given import given
from broker.store.leases import LEASED, Lease, lock_held
from broker.store.results import insert_results
from broker.store.tables import BatchRow, ResultRow, table

GIVEN_UP_CODE = 500
MAX_DOUBTS = 10
"""Leases of one announced record that may end unwatched: where it takes down the whole machine, nobody can watch."""
MAX_BLIND = 10
"""Crashes beyond those of a record that a batch may cause before any record is announced."""
GIVEN_UP_TEXT = "the image could not be processed: every try ended unexpectedly"

_batches, _results = table(BatchRow), table(ResultRow)


@dataclass(frozen=True, slots=True)
class Rescued:
    """A batch that waits for a worker again. given_up: the place of the record that got an error result."""

    id: str
    type: str
    crashes: int
    given_up: int | None


@dataclass(frozen=True, slots=True)
class RescueOrder:
    """Free at most `limit` batches whose lease of `lease_ms` is over.

    since: the `db_now()` from which on the sweeper reached the database without a gap; less than a lease of that frees
    nothing, so that workers can extend theirs after a gap. until: the order is void after that time, as it had to wait
    itself. What was not extended within a gap may be the database's fault and is no crash.
    """

    limit: int
    lease_ms: int
    since: int
    until: int
    max_crashes: int


@dataclass(frozen=True, slots=True)
class Look:
    """What a sweeper saw and did at `now`, the database's time.

    waiting: whether any batch waits for a worker. complete: whether a parent waits for its end alone.
    """

    now: int
    rescued: tuple[Rescued, ...]
    waiting: bool
    complete: bool


@dataclass(frozen=True, slots=True)
class Announcement:
    """The record that is about to run, alone in its worker."""

    lease: Lease
    place: int


@dataclass(frozen=True, slots=True)
class Crash:
    """A held batch that failed for a reason of its own, inside the worker; due again after `pause_ms`."""

    lease: Lease
    pause_ms: int
    max_crashes: int


@dataclass(frozen=True, slots=True)
class _Fall:
    """A locked row of a batch whose run ended badly. certain: by a crash, beyond doubt."""

    row: Row[Any]
    certain: bool
    pause_ms: int
    max_crashes: int

    @property
    def crashes(self) -> int:
        """An uncertain crash is reason enough for care, and never for more."""
        crashes: int = self.row.crashes
        return crashes + 1 if self.certain or crashes == 0 else crashes

    @property
    def doubts(self) -> int:
        doubts: int = self.row.doubts
        return doubts if self.certain or self.row.suspect is None else doubts + 1

    @property
    def used_up(self) -> bool:
        return self.doubts >= MAX_DOUBTS or (self.certain and self.crashes >= self.max_crashes)

    @property
    def blind(self) -> bool:
        """It happens each time before a record is announced, so that no run will ever show whose doing it is."""
        return self.certain and self.crashes >= self.max_crashes + MAX_BLIND


def rescue_batches(connection: Connection, orders: Sequence[RescueOrder]) -> list[Look]:
    """PROCESSING -> CREATED where the lease is over. A record that used up its crashes gets its error result."""
    return [_rescue(connection, order) for order in orders]


def _rescue(connection: Connection, order: RescueOrder) -> Look:
    glance = connection.execute(_GLANCE).one()
    rescued = [] if glance.lease is None else _free(connection, order, glance.now)
    return Look(glance.now, tuple(rescued), glance.waiting is not None, glance.complete is not None)


def _free(connection: Connection, order: RescueOrder, now: int) -> list[Rescued]:
    watched = order.since + order.lease_ms <= now <= order.until
    values = {"limit": order.limit if watched else 0, "lease_ms": order.lease_ms, "since": order.since}
    rows = connection.execute(_EXPIRED, values)
    return _return(connection, [_Fall(row, bool(row.certain), 0, order.max_crashes) for row in rows])


def count_crashes(connection: Connection, crashes: Sequence[Crash]) -> list[Rescued | None]:
    """PROCESSING -> CREATED by its holder, as if its worker had gone down; None where the lease was lost."""
    by_lease = {crash.lease: crash for crash in crashes}
    pairs = [[lease.batch, lease.seq] for lease in by_lease]
    falls = []
    for row in connection.execute(_held_statement(connection.dialect.name), {"given": json.dumps(pairs)}):
        crash = by_lease[Lease(row.id, row.lease_seq)]
        falls.append(_Fall(row, True, crash.pause_ms, crash.max_crashes))
    returned = {
        Lease(fall.row.id, fall.row.lease_seq): rescued
        for fall, rescued in zip(falls, _return(connection, falls), strict=True)
    }
    return [returned.get(crash.lease) for crash in crashes]


_WHO = (
    *(_batches.c.id, _batches.c.type, _batches.c.run, _batches.c.lease_seq),
    *(_batches.c.size, _batches.c.crashes, _batches.c.doubts, _batches.c.suspect),
)
_first_lease = select(_batches.c.lease_until).where(*LEASED).order_by(_batches.c.lease_until).limit(1)
_GLANCE = select(
    db_now().label("now"),
    _first_lease.scalar_subquery().label("lease"),
    FIRST_WAITING.label("waiting"),
    FIRST_COMPLETE.label("complete"),
)
"""Most looks find nothing, and need this one statement to know it. Where something is leased another one follows, which
fails in a database that only reads, where no worker can extend its lease."""
_begun = _batches.c.lease_until - bindparam("lease_ms", type_=BigInteger)
_EXPIRED = (
    select(*_WHO, (_begun >= bindparam("since", type_=BigInteger)).label("certain"))
    .where(*LEASED, _batches.c.lease_until < db_now())
    .order_by(_batches.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)


@lru_cache
def _held_statement(dialect: str) -> Select[Any]:
    mine = given(dialect, id=Id, seq=BigInteger)
    return (
        select(*_WHO)
        .join(mine, mine.c.id == _batches.c.id)
        .where(_batches.c.lease_seq == mine.c.seq, *LEASED)
        .order_by(_batches.c.id)
        .with_for_update(of=_batches)
    )


def _return(connection: Connection, falls: Sequence[_Fall]) -> list[Rescued]:
    """Make fallen batches wait again, and give up the records that used up their crashes."""
    if not falls:
        return []
    rows = [[fall.row.id, fall.crashes, fall.doubts, fall.pause_ms] for fall in falls]
    connection.execute(_return_statement(connection.dialect.name), {"given": json.dumps(rows)})
    left = _places_left(connection, [fall.row for fall in falls if fall.used_up])
    rescued = []
    for fall in falls:
        guilty = _guilty(fall, left[fall.row.id]) if fall.used_up else None
        if guilty is not None:
            _give_up(connection, fall, guilty, last=left[fall.row.id] == {guilty})
        rescued.append(Rescued(fall.row.id, fall.row.type, fall.crashes, guilty))
    return rescued


@lru_cache
def _return_statement(dialect: str) -> Update:
    mine = given(dialect, id=Id, crashes=Integer, doubts=Integer, pause=BigInteger)
    return (
        update(_batches)
        .where(_batches.c.id == mine.c.id)
        .values(
            status=Status.CREATED,
            lease_owner=None,
            lease_until=None,
            crashes=mine.c.crashes,
            doubts=mine.c.doubts,
            due=db_now() + mine.c.pause,
            modified=db_now(),
        )
    )


def _guilty(fall: _Fall, left: set[int]) -> int | None:
    """The announced record, or the only one that is left; nobody knows it of several that ran at once.

    Where none is ever announced they are given up one after the other: a batch has to end.
    """
    if fall.row.suspect in left:
        return int(fall.row.suspect)
    return min(left) if len(left) == 1 or (left and fall.blind) else None


def _places_left(connection: Connection, rows: Sequence[Row[Any]]) -> defaultdict[str, set[int]]:
    left: defaultdict[str, set[int]] = defaultdict(set)
    if not rows:
        return left
    left.update({row.id: set(range(row.size)) for row in rows})
    ids = [row.id for row in rows]
    for row in connection.execute(select(_results.c.batch_id, _results.c.position).where(_results.c.batch_id.in_(ids))):
        left[row.batch_id].discard(row.position)
    return left


def _give_up(connection: Connection, fall: _Fall, place: int, *, last: bool) -> None:
    """Its result is an error. What is left of the batch goes on with care: there may be another one like it."""
    row = fall.row
    crashes = 1 if row.suspect == place else fall.crashes
    result = Result(place, GIVEN_UP_CODE, GIVEN_UP_TEXT, new_id())
    insert_results(connection, [(Lease(row.id, row.lease_seq), row.run, result)], read_clock(connection))
    connection.execute(
        update(_batches)
        .where(_batches.c.id == row.id)
        .values(crashes=0 if last else crashes, doubts=0, suspect=None, due=db_now())
    )


def announce_records(connection: Connection, announcements: Sequence[Announcement]) -> list[bool]:
    """Say which record of a batch runs next; False where the lease was lost.

    Unless it is the same as before it is not yet blamed for more than the crash that began it all.
    """
    lock_held(connection, [announcement.lease for announcement in announcements])
    rows = [[item.lease.batch, item.lease.seq, item.place] for item in announcements]
    statement = _announce_statement(connection.dialect.name)
    done = {Lease(*row) for row in connection.execute(statement, {"given": json.dumps(rows)})}
    return [item.lease in done for item in announcements]


@lru_cache
def _announce_statement(dialect: str) -> ReturningUpdate[Any]:
    mine = given(dialect, id=Id, seq=BigInteger, place=Integer)
    same = _batches.c.suspect == mine.c.place
    return (
        update(_batches)
        .where(_batches.c.id == mine.c.id, _batches.c.lease_seq == mine.c.seq, *LEASED)
        .values(
            suspect=mine.c.place,
            crashes=case((same, _batches.c.crashes), else_=1),
            doubts=case((same, _batches.c.doubts), else_=0),
        )
        .returning(_batches.c.id, _batches.c.lease_seq)
    )
