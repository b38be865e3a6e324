"""Queries about endpoints: where deliveries go, and how healthy that is."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, Select, Text, bindparam, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from broker.endpoints import Call, Condition, Endpoint, Health, after, enabled
from broker.store.clock import read_clock
from broker.store.given import given
from broker.store.tables import EndpointRow, table

_endpoints = table(EndpointRow)
_PEACEFUL = frozenset({Call.ANSWERED, Call.DECLINED})


@dataclass(frozen=True, slots=True)
class Change:
    """What a try did to its endpoint."""

    origin: str
    before: Condition
    now: Condition


def insert_endpoints(connection: Connection, endpoints: Collection[Endpoint], now: int) -> AbstractSet[str]:
    """Write down those that are new, as healthy since `now`. None of them is forgotten before this transaction ends.

    Returns the ids of those that are open: not disabled, no breaker, and nothing is held back there.
    """
    wanted = {endpoint.id: endpoint for endpoint in endpoints}
    known = _rows(connection, wanted, read=True, key_share=True)
    _insert(connection, [wanted[id] for id in sorted(wanted.keys() - known.keys())], now)
    return {id for id in wanted if id not in known or _is_open(known[id])}


def _is_open(row: Any) -> bool:
    return row.state != Health.DISABLED and row.open_until is None and not row.holding


def _insert(connection: Connection, new: Sequence[Endpoint], now: int) -> None:
    if not new:
        return
    flavour = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(
        flavour.insert(_endpoints).on_conflict_do_nothing(),
        [
            {
                "id": endpoint.id,
                "workspace_id": endpoint.workspace,
                "origin": endpoint.origin,
                "place": endpoint.place,
                "state": Health.HEALTHY,
                "since": now,
                "failures": 0,
                "recent": "[]",
                "holding": False,
                "created": now,
            }
            for endpoint in new
        ],
    )


def note_calls(connection: Connection, calls: Sequence[tuple[str, Call]]) -> list[Change | None]:
    """Judge endpoints by (id, what a try brought); None for a try that changes nothing.

    An answer of an endpoint against which nothing is known, the usual case, locks and writes nothing.
    """
    rows = _rows(connection, {id for id, _ in calls})
    spotted = {id for id, row in rows.items() if not condition_of(row).is_spotless}
    notable = {id for id, call in calls if id in rows and (call not in _PEACEFUL or id in spotted)}
    if not notable:
        return [None] * len(calls)
    rows = _rows(connection, notable, key_share=True)
    conditions = {id: condition_of(row) for id, row in rows.items()}
    now = read_clock(connection)
    changes: list[Change | None] = []
    for id, call in calls:
        before = conditions.get(id)
        if before is None:
            changes.append(None)
            continue
        conditions[id] = after(before, call, now)
        changes.append(Change(rows[id].origin, before, conditions[id]))
    connection.execute(_JUDGE, [{"endpoint": id, **_values(one)} for id, one in sorted(conditions.items())])
    return changes


def enable_endpoints(connection: Connection, ids: Sequence[str]) -> list[bool]:
    """Make endpoints healthy, with all failures forgotten; False for those that are so, and unknown ones.

    Of several who ask at once for the same one, the first is told that it was done.
    """
    ill = _JUDGE.where(or_(_endpoints.c.state != Health.HEALTHY, _endpoints.c.open_until.is_not(None)))
    cured = set()
    for id in sorted(set(ids)):
        now = read_clock(connection)
        if connection.execute(ill, {"endpoint": id, **_values(enabled(now))}).rowcount:
            cured.add(id)
    return [id in cured and ids.index(id) == place for place, id in enumerate(ids)]


def condition_of(row: Row[Any]) -> Condition:
    """How an endpoint stands, from its row."""
    return Condition(
        state=Health(row.state),
        since=row.since,
        reason=row.reason,
        failures=row.failures,
        failing_since=row.failing_since,
        recent=tuple((when, failed) for when, failed in json.loads(row.recent)),
        open_until=row.open_until,
    )


def _rows(connection: Connection, ids: Iterable[str], **lock: bool) -> Mapping[str, Row[Any]]:
    """Endpoints by id. lock: how their rows are locked, if they are."""
    statement = _statement(connection.dialect.name, **lock)
    return {row.id: row for row in connection.execute(statement, {"given": json.dumps([[id] for id in ids])})}


def _values(condition: Condition) -> dict[str, Any]:
    return {
        "new_state": condition.state,
        "new_since": condition.since,
        "new_reason": condition.reason,
        "new_failures": condition.failures,
        "new_failing_since": condition.failing_since,
        "new_recent": json.dumps(condition.recent),
        "new_open_until": condition.open_until,
    }


@lru_cache
def _statement(dialect: str, **lock: bool) -> Select[Any]:
    mine = given(dialect, id=Text)
    found = select(_endpoints).join(mine, mine.c.id == _endpoints.c.id).order_by(_endpoints.c.id)
    return found.with_for_update(**lock, of=_endpoints) if lock else found


_JUDGE = (
    update(_endpoints)
    .where(_endpoints.c.id == bindparam("endpoint"))
    .values(
        state=bindparam("new_state"),
        since=bindparam("new_since", type_=BigInteger),
        reason=bindparam("new_reason"),
        failures=bindparam("new_failures"),
        failing_since=bindparam("new_failing_since", type_=BigInteger),
        recent=bindparam("new_recent"),
        open_until=bindparam("new_open_until", type_=BigInteger),
    )
)
