"""Queries about leases that are held: extend, give back, lock. Every write carries the fencing number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, Select, bindparam, exists, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from broker.batches import Status
from broker.store.clock import db_now
from broker.store.columns import Id, constant
from broker.store.given import given
from broker.store.tables import BatchRow, WorkspaceRow, table

_batches, _workspaces = table(BatchRow), table(WorkspaceRow)

LEASED = (
    _batches.c.status == constant(Status.PROCESSING.value),
    _batches.c.lease_until.is_not(None),
)
"""What a batch is whose `lease_seq` is a lease: a parent that waits for its children is PROCESSING without one."""


class Lease(NamedTuple):
    """The right to write about a batch: its id and the fencing number of the claim."""

    batch: str
    seq: int


@dataclass(frozen=True, slots=True)
class Beat:
    """Extend all of one owner's leases to `lease_ms` from now."""

    owner: str
    leases: tuple[Lease, ...]
    lease_ms: int


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Return a claimed batch to the queue; it is due again after `pause_ms`. No crash is counted."""

    lease: Lease
    pause_ms: int = 0


def extend_leases(connection: Connection, beats: Sequence[Beat]) -> list[frozenset[Lease]]:
    """Extend leases; returns those that are still held. A lease that is missing in the answer is lost."""
    held = []
    lock_held(connection, [lease for beat in beats for lease in beat.leases])
    for beat in beats:
        rows = connection.execute(
            _extend_statement(connection.dialect.name),
            {"given": json.dumps(beat.leases), "lease_ms": beat.lease_ms, "owner": beat.owner},
        )
        held.append(frozenset(Lease(*row) for row in rows))
    return held


@lru_cache
def _extend_statement(dialect: str) -> ReturningUpdate[Any]:
    mine = given(dialect, id=Id, seq=BigInteger)
    return (
        update(_batches)
        .where(
            _batches.c.id == mine.c.id,
            _batches.c.lease_seq == mine.c.seq,
            *LEASED,
            _batches.c.lease_owner == bindparam("owner"),
        )
        .values(lease_until=db_now() + bindparam("lease_ms", type_=BigInteger))
        .returning(_batches.c.id, _batches.c.lease_seq)
    )


@dataclass(frozen=True, slots=True)
class Strays:
    """Batches that `owner` claimed without learning it, since the answer was lost. known: leases it does hold.

    Those younger than `age_ms`, of leases of `lease_ms`, may be of an answer that is still on its way.
    """

    owner: str
    known: tuple[Lease, ...]
    lease_ms: int
    age_ms: int


def return_strays(connection: Connection, orders: Sequence[Strays]) -> list[list[tuple[str, str]]]:
    """PROCESSING -> CREATED for leases that nobody knows to hold; no crash is counted. (type, batch id) of each."""
    return [_return_strays(connection, order) for order in orders]


def _return_strays(connection: Connection, order: Strays) -> list[tuple[str, str]]:
    statement = _strays_statement(connection.dialect.name)
    values = {"given": json.dumps(order.known), "owner": order.owner, "left": order.lease_ms - order.age_ms}
    return [(row.type, row.id) for row in connection.execute(statement, values)]


@lru_cache
def _strays_statement(dialect: str) -> ReturningUpdate[Any]:
    known = given(dialect, id=Id, seq=BigInteger)
    strays = (  # in no order, which would let SQLite read all by their ids; SKIP LOCKED waits for nobody anyway
        select(_batches.c.id)
        .where(
            _batches.c.status == constant(Status.PROCESSING.value),
            _batches.c.lease_owner == bindparam("owner"),
            _batches.c.lease_until < db_now() + bindparam("left", type_=BigInteger),
            ~exists().where(known.c.id == _batches.c.id, known.c.seq == _batches.c.lease_seq),
        )
        .with_for_update(skip_locked=True, of=_batches)
    )
    return (
        update(_batches)
        .where(_batches.c.id.in_(strays))
        .values(status=Status.CREATED, lease_owner=None, lease_until=None, due=db_now(), modified=db_now())
        .returning(_batches.c.id, _batches.c.type)
    )


def give_back_batches(connection: Connection, returns: Sequence[GiveBack]) -> list[bool]:
    """PROCESSING -> CREATED by its holder, without a crash being counted; False where the lease was lost."""
    lock_held(connection, [give_back.lease for give_back in returns])
    rows = [[item.lease.batch, item.lease.seq, item.pause_ms] for item in returns]
    statement = _give_back_statement(connection.dialect.name)
    done = {Lease(*row) for row in connection.execute(statement, {"given": json.dumps(rows)})}
    return [item.lease in done for item in returns]


@lru_cache
def _give_back_statement(dialect: str) -> ReturningUpdate[Any]:
    mine = given(dialect, id=Id, seq=BigInteger, pause=BigInteger)
    return (
        update(_batches)
        .where(_batches.c.id == mine.c.id, _batches.c.lease_seq == mine.c.seq, *LEASED)
        .values(
            status=Status.CREATED,
            lease_owner=None,
            lease_until=None,
            due=db_now() + mine.c.pause,
            modified=db_now(),
        )
        .returning(_batches.c.id, _batches.c.lease_seq)
    )


def lock_held(connection: Connection, leases: Sequence[Lease]) -> frozenset[Lease]:
    """Lock the rows of leases in id order; returns the leases that are still held."""
    pairs = sorted(set(leases))
    statement = _held_statement(connection.dialect.name)
    rows = connection.execute(statement, {"given": json.dumps(pairs)})
    return frozenset(Lease(*row) for row in rows)


@lru_cache
def _held_statement(dialect: str) -> Select[Any]:
    mine = given(dialect, id=Id, seq=BigInteger)
    return (
        select(_batches.c.id, _batches.c.lease_seq)
        .join(mine, mine.c.id == _batches.c.id)
        .where(_batches.c.lease_seq == mine.c.seq, *LEASED)
        .order_by(_batches.c.id)
        .with_for_update(of=_batches)
    )
