"""Table rows -> the values that leave this package."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, Row, select

from broker.batches import Batch, Outcome, Pin, Record, Result, Status
from broker.store.tables import BatchRow, ResultRow, table

_results = table(ResultRow)
_COLUMNS = table(BatchRow).c.keys()


def columns_of_batch(*names: str) -> itemgetter[Any]:
    """Takes these out of a row that begins with all columns of `batches`: by its name, each costs a microsecond."""
    return itemgetter(*map(_COLUMNS.index, names))


def batch_of(row: Row[Any]) -> Batch:
    """A row that begins with all columns of `batches`."""
    found = dict(zip(_COLUMNS, row, strict=False))
    return Batch(
        id=found["id"],
        workspace=found["workspace_id"],
        dialect=found["dialect"],
        type=found["type"],
        endpoint=found["endpoint"],
        params=from_json(found["params"]),
        records=load_records(found["records"]),
        extra=found["extra"],
        base_url=found["base_url"],
        status=Status(found["status"]),
        outcome=Outcome(found["outcome"]) if found["outcome"] else None,
        run=found["run"],
        lease_seq=found["lease_seq"],
        created=found["created"],
        modified=found["modified"],
        pinned=load_pins(found["pinned"]),
        webhook=found["webhook"],
        external_id=found["external_id"],
        parent=found["parent_id"],
    )


def result_of(row: Row[Any]) -> Result:
    """A row of `results`."""
    return Result(
        index=row.position,
        code=row.code,
        text=row.text,
        request_id=row.request_id,
        facts=json.loads(row.facts),
        finished=row.finished,
    )


def results_by_batch(connection: Connection, ids: Sequence[str]) -> defaultdict[str, list[Result]]:
    """The results that batches have so far, each batch's in the order of its records."""
    found: defaultdict[str, list[Result]] = defaultdict(list)
    if not ids:
        return found
    for row in connection.execute(select(_results).where(_results.c.batch_id.in_(ids)).order_by(_results.c.position)):
        found[row.batch_id].append(result_of(row))
    return found


def dump_records(records: tuple[Record, ...]) -> str:
    """Records as the JSON of their one column; keys that say nothing are left out."""
    return to_json([_dump(record) for record in records]).decode()


def load_records(text: str) -> tuple[Record, ...]:
    """The inverse of `dump_records`."""
    return tuple(Record(**item) for item in from_json(text))


def dump_pins(pins: tuple[Pin, ...]) -> str:
    """Pins as the JSON of their one column."""
    return json.dumps([[pin.kind, pin.id, pin.version] for pin in pins]) if pins else "[]"


def load_pins(text: str) -> tuple[Pin, ...]:
    """The inverse of `dump_pins`."""
    return tuple(Pin(kind, id, version) for kind, id, version in from_json(text))


def _dump(record: Record) -> dict[str, Any]:
    item: dict[str, Any] = {"id": record.id}
    if record.url is not None:
        item["url"] = record.url
    if record.blob is not None:
        item["blob"] = record.blob
    if record.small:
        item["small"] = True
    if record.id_given:
        item["id_given"] = True
    if record.fields:
        item["fields"] = record.fields
    return item
