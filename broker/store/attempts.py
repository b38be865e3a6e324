"""Queries that record what tries brought: the attempt, its delivery, the health of its endpoint, whom to tell."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct
from sqlalchemy import BigInteger, Boolean, Connection, Dialect, Row, Text, bindparam, case, func, or_, update
from sqlalchemy.sql.dml import ReturningUpdate

from broker.deliveries import AttemptResult, NewDelivery, State
from broker.endpoints import Event, Kind, events
from broker.store.clock import db_now, read_clock
from broker.store.columns import Id
from broker.store.deliveries import OWED
from broker.store.driver import driver_text
from broker.store.endpoints import Change, note_calls
from broker.store.given import given
from broker.store.group import brief
from broker.store.owed import insert_deliveries
from broker.store.tables import AttemptRow, DeliveryRow, table

_deliveries, _attempts = table(DeliveryRow), table(AttemptRow)
_GIVEN_UP = {State.EXHAUSTED: Kind.EXHAUSTED, State.REFUSED: Kind.REFUSED}


class Report(Struct, frozen=True):
    """What a try brought. tell: makes the webhook to the operator that an event owes; pure, as rows are locked."""

    result: AttemptResult
    tell: Callable[[Event], NewDelivery | None] = lambda _: None


class Recorded(Struct, frozen=True):
    """settled: the delivery has moved on. False: its lease was lost, or it was superseded, so its state stays."""

    settled: bool
    events: tuple[Event, ...] = ()


@brief
def record_attempts(connection: Connection, reports: Sequence[Report]) -> list[Recorded]:
    """Complete attempts, move their deliveries on, judge their endpoints; what is to be told is owed from then on."""
    results = [report.result for report in reports]
    settled = _settle(connection, results)  # locks deliveries first, as their removal does
    connection.exec_driver_sql(_end_text(connection.dialect), [_ended(result) for result in results])
    changes = _judge(connection, results, settled)
    now = read_clock(connection)
    told = [_events(result, row, change, now) for result, row, change in zip(results, settled, changes, strict=True)]
    owed = [report.tell(event) for report, some in zip(reports, told, strict=True) for event in some]
    insert_deliveries(connection, [delivery for delivery in owed if delivery], now)
    return [Recorded(row is not None, some) for row, some in zip(settled, told, strict=True)]


def _settle(connection: Connection, results: Sequence[AttemptResult]) -> list[Row[Any] | None]:
    """The rows that have moved on, in the results' order; None where the lease was lost, or what came twice."""
    moves: dict[tuple[str, int], list[Any]] = {}
    for one in results:
        move = [one.delivery, one.lease_seq, one.state, one.pause_ms, one.hurry, one.hurry or one.unsent]
        moves.setdefault((one.delivery, one.lease_seq), move)
    rows = connection.execute(_settle_statement(connection.dialect.name), {"given": json.dumps([*moves.values()])})
    settled = {(row.id, row.lease_seq): row for row in rows}
    return [settled.pop((one.delivery, one.lease_seq), None) for one in results]


def _judge(
    connection: Connection, results: Sequence[AttemptResult], settled: Sequence[Row[Any] | None]
) -> list[Change | None]:
    """What each try did to its endpoint. A try that was repeated meanwhile is judged by its repetition."""
    calls = {
        place: (result.endpoint, result.call)
        for place, (result, row) in enumerate(zip(results, settled, strict=True))
        if row is not None and result.call is not None
    }
    changes = dict(zip(calls, note_calls(connection, list(calls.values())), strict=True)) if calls else {}
    return [changes.get(place) for place in range(len(results))]


def _events(result: AttemptResult, row: Row[Any] | None, change: Change | None, now: int) -> tuple[Event, ...]:
    if row is None:
        return ()
    kinds = [*events(change.before, change.now)] if change else []
    given_up = _GIVEN_UP.get(result.state) if result.was is State.PENDING else None
    if given_up:
        kinds.append(given_up)
    return tuple(
        Event(
            kind=kind,
            at=now,
            workspace=row.workspace_id,
            endpoint=result.endpoint,
            origin=change.origin if change else result.origin,
            reason=change.now.reason if change and kind is not given_up else _outcome(result),
            failures=change.now.failures if change else 0,
            delivery=result.delivery,
            batch=row.batch_id,
        )
        for kind in kinds
    )


def _outcome(result: AttemptResult) -> str:
    return result.error or f"answered {result.status_code}"


def _ended(result: AttemptResult) -> tuple[Any, ...]:
    """What the parameters of `_end_text` are."""
    told = (result.duration_ms, result.status_code, result.error, result.response)
    return (*told, result.delivery, result.attempt)


@lru_cache
def _settle_statement(dialect: str) -> ReturningUpdate[Any]:
    mine = given(dialect, id=Id, seq=BigInteger, state=Text, pause_ms=BigInteger, hurry=Boolean, free=Boolean)
    paused = db_now() + mine.c.pause_ms
    return (
        update(_deliveries)
        .where(_deliveries.c.id == mine.c.id, _deliveries.c.lease_seq == mine.c.seq, OWED)
        .values(
            state=mine.c.state,
            step=_deliveries.c.step - case((mine.c.free, 1), else_=0),
            hurried=or_(_deliveries.c.hurried, mine.c.hurry),
            manual=False,
            held=None,  # a try that outlasted its lease may find its delivery held back meanwhile
            due=case((mine.c.state == State.PENDING, func.coalesce(_deliveries.c.scheduled, paused))),
            scheduled=None,
            finished=case(
                (mine.c.state == State.PENDING, None),
                (mine.c.state == _deliveries.c.state, _deliveries.c.finished),
                else_=db_now(),
            ),
        )
        .returning(_deliveries.c.id, _deliveries.c.lease_seq, _deliveries.c.workspace_id, _deliveries.c.batch_id)
    )


@lru_cache
def _end_text(dialect: Dialect) -> str:
    told = ["duration_ms", "status_code", "error", "response"]
    statement = (
        update(_attempts)
        .where(_attempts.c.delivery_id == bindparam("delivery"), _attempts.c.number == bindparam("attempt"))
        .values({name: bindparam(name) for name in told})
    )
    return driver_text(statement, dialect, [*told, "delivery", "attempt"])
