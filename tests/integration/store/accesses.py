"""How a database would get at the rows that statements need: its plans, one access a table and index."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from tests.integration.store.ended import Statement

_SQLITE = re.compile(
    r"(?:SCAN|SEARCH) (\w+)(?: USING (?:COVERING )?(?:INDEX (\w+)|INTEGER PRIMARY KEY))?(?: \((.*)\))?"
)


@dataclass(frozen=True)
class Access:
    """To a table, or whatever a plan calls it. index: None for the table as it lies; condition: what is looked up."""

    table: str
    index: str | None
    condition: str


def accesses(connection: Connection, seen: Sequence[Statement]) -> list[Access]:
    """By the plans that the database makes with what it knows of its tables."""
    if connection.dialect.name == "sqlite":
        return [access for one in seen for access in _of_sqlite(connection, one)]
    return [access for one in seen for access in _of_postgresql(connection, one)]


def _of_sqlite(connection: Connection, seen: Statement) -> Iterator[Access]:
    statement, parameters = seen
    for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters):
        if found := _SQLITE.match(row[-1]):
            table, index, condition = found.groups()
            yield Access(table, index or ("rowid" if condition else None), condition or "")


def _of_postgresql(connection: Connection, seen: Statement) -> Iterator[Access]:
    statement, parameters = seen
    (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalars()
    yield from _nodes((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"], "")


def _nodes(node: Mapping[str, Any], above: str) -> Iterator[Access]:
    """A bitmap's table stands in the node above its index."""
    table = node.get("Relation Name", above)
    if node["Node Type"] == "Seq Scan" or "Index Name" in node:
        yield Access(table, node.get("Index Name"), node.get("Index Cond", ""))
    for below in node.get("Plans", ()):
        yield from _nodes(below, table)
