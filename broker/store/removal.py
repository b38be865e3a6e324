"""Removing batches with all that hangs on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Delete, Select, delete, select

from broker.store.columns import Id
from broker.store.given import given
from broker.store.tables import AttemptRow, BatchRow, DeliveryRow, PictureRow, ResultRow, table

_batches, _results, _pictures = table(BatchRow), table(ResultRow), table(PictureRow)
_deliveries, _attempts = table(DeliveryRow), table(AttemptRow)


def remove_rows(connection: Connection, ids: Sequence[str]) -> None:
    """Remove batches with their pictures, results, deliveries and attempts. The caller has locked them.

    A parent may go with its last children, not before: a child that is left makes this raise IntegrityError.
    """
    ours = {"given": json.dumps([[id] for id in ids])}
    for statement in _statements(connection.dialect.name):
        connection.execute(statement, ours)


@lru_cache
def _statements(dialect: str) -> tuple[Select[Any] | Delete, ...]:
    ids = select(given(dialect, id=Id).c.id)
    theirs = select(_deliveries.c.id).where(_deliveries.c.batch_id.in_(ids))
    return (
        theirs.order_by(_deliveries.c.id).with_for_update(),  # a sender that claims one meanwhile adds an attempt
        delete(_attempts).where(_attempts.c.delivery_id.in_(theirs)),
        delete(_deliveries).where(_deliveries.c.batch_id.in_(ids)),
        delete(_pictures).where(_pictures.c.batch_id.in_(ids)),
        delete(_results).where(_results.c.batch_id.in_(ids)),
        delete(_batches).where(_batches.c.id.in_(ids)),
    )
