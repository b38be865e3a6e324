"""Queries about webhooks that are owed: claim what is due, record what a try brought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Boolean, Connection, bindparam, case, insert, or_, select, update

from broker.deliveries import AttemptResult, DueDelivery, State
from broker.store.clock import db_now
from broker.store.tables import AttemptRow, DeliveryRow, table

_deliveries, _attempts = table(DeliveryRow), table(AttemptRow)


@dataclass(frozen=True, slots=True)
class DueOrder:
    """Claim up to `limit` due deliveries for `lease_ms`, longer than one try may take."""

    limit: int
    lease_ms: int


_due = (
    select(_deliveries.c.id)
    .where(_deliveries.c.state == State.PENDING, _deliveries.c.due <= db_now())
    .order_by(_deliveries.c.due, _deliveries.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_CLAIM = (
    update(_deliveries)
    .where(_deliveries.c.id.in_(_due))
    .values(
        lease_seq=_deliveries.c.lease_seq + 1,
        attempts=_deliveries.c.attempts + 1,
        step=_deliveries.c.step + 1,
        due=db_now() + bindparam("lease_ms", type_=BigInteger),
    )
    .returning(_deliveries)
)
_BEGIN = insert(_attempts).values(manual=False, started=db_now())
_SETTLE = (
    update(_deliveries)
    .where(_deliveries.c.id == bindparam("delivery"), _deliveries.c.lease_seq == bindparam("seq"))
    .where(_deliveries.c.state == State.PENDING)
    .values(
        state=bindparam("new_state"),
        step=_deliveries.c.step - case((bindparam("hurry", type_=Boolean), 1), else_=0),
        hurried=or_(_deliveries.c.hurried, bindparam("hurry", type_=Boolean)),
        due=db_now() + bindparam("pause_ms", type_=BigInteger),
        finished=case((bindparam("new_state") == State.PENDING, None), else_=db_now()),
    )
    .returning(_deliveries.c.id)
)
_END = (
    update(_attempts)
    .where(_attempts.c.delivery_id == bindparam("delivery"), _attempts.c.number == bindparam("attempt"))
    .values(
        duration_ms=bindparam("took_ms"),
        status_code=bindparam("answer"),
        error=bindparam("problem"),
        response=bindparam("excerpt"),
    )
)


def claim_deliveries(connection: Connection, orders: Sequence[DueOrder]) -> list[list[DueDelivery]]:
    """Claim due deliveries and write the row of the attempt that follows, before anything is sent."""
    claimed = []
    for order in orders:
        rows = connection.execute(_CLAIM, {"limit": order.limit, "lease_ms": order.lease_ms}).all()
        if rows:
            connection.execute(_BEGIN, [{"delivery_id": row.id, "number": row.attempts} for row in rows])
        claimed.append([_due_delivery(row) for row in rows])
    return claimed


def record_attempts(connection: Connection, results: Sequence[AttemptResult]) -> list[bool]:
    """Complete attempts and move their deliveries on; False for a lease that was lost, whose state stays."""
    settled = [_settle(connection, result) for result in results]  # locks deliveries first, as their removal does
    connection.execute(
        _END,
        [
            {
                "delivery": result.delivery,
                "attempt": result.attempt,
                "took_ms": result.duration_ms,
                "answer": result.status_code,
                "problem": result.error,
                "excerpt": result.response,
            }
            for result in results
        ],
    )
    return settled


def _settle(connection: Connection, result: AttemptResult) -> bool:
    values = {
        "delivery": result.delivery,
        "seq": result.lease_seq,
        "new_state": result.state,
        "pause_ms": result.pause_ms,
        "hurry": result.hurry,
    }
    return connection.scalar(_SETTLE, values) is not None


def _due_delivery(row: Any) -> DueDelivery:
    return DueDelivery(
        id=row.id,
        batch=row.batch_id,
        workspace=row.workspace_id,
        target=row.target,
        body=row.body,
        lease_seq=row.lease_seq,
        attempt=row.attempts,
        step=row.step,
        hurried=row.hurried,
    )
