"""Walking over batches that ended, the oldest first, in chunks: by `ix_batches_ended`, so that none reads more rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, FromClause, Row, Select, and_, bindparam, select, tuple_

from broker.batches import Status
from broker.store.clock import moment
from broker.store.columns import Id, constant
from broker.store.tables import BatchRow, table

_batches = table(BatchRow)
DONE = constant(Status.DONE.value)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a walk stands: behind this batch, at first before all."""

    finished: int = 0
    id: str = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Gone:
    """Whose blobs are to be removed, now that its row says so, or is no more. lease_seq: of its last claim."""

    workspace: str
    batch: str
    lease_seq: int


def is_over(batch: FromClause) -> ColumnElement[bool]:
    """Whether a batch ended over `age_ms` ago."""
    return and_(batch.c.status == DONE, batch.c.finished < moment(bindparam("age_ms", type_=BigInteger)))


def next_ended(*columns: ColumnElement[Any]) -> Select[Any]:
    """The next `limit` batches that are over, as `id`, `finished` and `columns`; executed with `walk`."""
    after = tuple_(bindparam("after", type_=BigInteger), bindparam("after_id", type_=Id))
    return (
        select(_batches.c.id, _batches.c.finished, *columns)
        .where(is_over(_batches), tuple_(_batches.c.finished, _batches.c.id) > after)
        .order_by(_batches.c.finished, _batches.c.id)
        .limit(bindparam("limit"))
    )


def walk(after: Place, age_ms: int, limit: int) -> dict[str, Any]:
    """The parameters of `next_ended`."""
    return {"after": after.finished, "after_id": after.id, "age_ms": age_ms, "limit": limit}


def gone(rows: Iterable[Row[Any]]) -> tuple[Gone, ...]:
    return tuple(Gone(row.workspace_id, row.id, row.lease_seq) for row in rows)
