"""Query that undoes the claim of webhooks that nobody has begun to send."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from itertools import compress
from typing import Any

from sqlalchemy import BigInteger, Boolean, Connection, Delete, case, delete, select, tuple_, update
from sqlalchemy.sql.dml import ReturningUpdate

from broker.deliveries import DueDelivery
from broker.store.clock import db_now
from broker.store.columns import Id
from broker.store.deliveries import OWED
from broker.store.given import given
from broker.store.group import brief
from broker.store.tables import AttemptRow, DeliveryRow, table

_deliveries, _attempts = table(DeliveryRow), table(AttemptRow)


@brief
def put_back_deliveries(connection: Connection, deliveries: Sequence[DueDelivery]) -> list[bool]:
    """Make claimed deliveries due as if they had not been claimed, without the tries that were to follow.

    One that is not owed any more stays as it is, but for the try. False for those whose claim is lost by now.
    """
    dialect = connection.dialect.name
    mine = [[one.id, one.lease_seq, one.manual] for one in deliveries]
    rows = connection.execute(_back_statement(dialect), {"given": json.dumps(mine)})
    back = {(row.id, row.lease_seq) for row in rows}
    put = [(one.id, one.lease_seq) in back for one in deliveries]
    tries = [[one.id, one.attempt] for one in compress(deliveries, put)]
    connection.execute(_forget_statement(dialect), {"given": json.dumps(tries)})
    return put


@lru_cache
def _back_statement(dialect: str) -> ReturningUpdate[Any]:
    mine = given(dialect, id=Id, seq=BigInteger, manual=Boolean)
    return (
        update(_deliveries)
        .where(_deliveries.c.id == mine.c.id, _deliveries.c.lease_seq == mine.c.seq)
        .values(
            attempts=_deliveries.c.attempts - 1,
            step=_deliveries.c.step - case((mine.c.manual, 0), else_=1),
            due=case((OWED, db_now())),
            held=None,  # as another claim may have found it when this one was over, which a frozen process does not see
        )
        .returning(_deliveries.c.id, _deliveries.c.lease_seq)
    )


@lru_cache
def _forget_statement(dialect: str) -> Delete:
    """By their ids: asked whether it is given, each row of the table would be read."""
    mine = given(dialect, id=Id, number=BigInteger)
    which = tuple_(_attempts.c.delivery_id, _attempts.c.number)
    return delete(_attempts).where(which.in_(select(mine.c.id, mine.c.number)))
