"""Endpoints in SQL: written down with their first delivery, judged by every try in its commit, told of in it too."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from broker.batches import new_id
from broker.deliveries import AttemptResult, NewDelivery, State
from broker.endpoints import DISABLED_AFTER_MS, ONLY_FAILURES, Call, Endpoint, Event, Kind
from broker.store.attempts import Report, record_attempts
from broker.store.clock import read_clock
from broker.store.database import Database, open_database
from broker.store.endpoints import enable_endpoints, insert_endpoints
from tests.integration.store.rows import (
    MINUTE,
    attempt_result,
    claim_due,
    endpoint,
    execute,
    owe,
    record,
    select,
)


def failed(due: Any, pause_ms: int = 0) -> AttemptResult:
    return attempt_result(due, State.PENDING, status_code=500, pause_ms=pause_ms, call=Call.FAILED)


async def fail(database: Database, times: int) -> list[Event]:
    """So many tries in a row that fail; what was told."""
    events: list[Event] = []
    for _ in range(times):
        (due,) = await claim_due(database, 1)
        (recorded,) = await record(database, failed(due))
        events += recorded.events
    return events


async def standing(database: Database) -> tuple[Any, ...]:
    (row,) = await select(database, "SELECT state, failures, reason, open_until IS NOT NULL FROM endpoints")
    return row


async def test_an_endpoint_is_written_down_with_its_first_delivery(database: Database, workspace_id: str) -> None:
    for at in "aba":
        await owe(database, workspace_id, 2, at=at)
    columns = "id, workspace_id, origin, state, reason, failures, open_until, holding"
    assert await select(database, f"SELECT {columns} FROM endpoints ORDER BY id") == [
        (at * 32, workspace_id, f"https://{at}.example", "healthy", None, 0, None, False) for at in "ab"
    ]
    assert await select(database, "SELECT place FROM endpoints WHERE since = created") == [(b"place",)] * 2


async def test_processes_that_meet_a_new_endpoint_at_once_write_it_down_once(
    database_url: str, tmp_path: Path, database: Database, workspace_id: str
) -> None:
    other = open_database(database_url, tmp_path)

    def put(connection: Connection, endpoints: Sequence[Endpoint]) -> list[None]:
        insert_endpoints(connection, endpoints, read_clock(connection))
        return [None] * len(endpoints)

    for pair in ("ab", "cd", "ef", "gh"):
        new = [endpoint(workspace_id, at) for at in (*pair, *reversed(pair))]
        await asyncio.gather(*[one.writer.write(put, each) for each in new for one in (database, other)])
    await other.aclose()
    ids = await select(database, "SELECT id FROM endpoints ORDER BY id")
    assert ids == [(at * 32,) for at in "abcdefgh"]


async def test_tries_that_fail_make_it_failing_and_an_answer_healthy(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id)
    assert await fail(database, 3) == []
    (event,) = await fail(database, 1)
    assert await standing(database) == ("failing", 4, "4 tries in a row failed", False)
    ((delivery, batch),) = await select(database, "SELECT id, batch_id FROM deliveries")
    ((since,),) = await select(database, "SELECT since FROM endpoints")
    assert 0 <= event.at - since < MINUTE
    assert event == Event(
        kind=Kind.FAILING,
        at=event.at,
        workspace=workspace_id,
        endpoint="e" * 32,
        origin="https://e.example",
        reason="4 tries in a row failed",
        failures=4,
        delivery=delivery,
        batch=batch,
    )
    (due,) = await claim_due(database)
    (recorded,) = await record(database, attempt_result(due, call=Call.ANSWERED))
    assert [event.kind for event in recorded.events] == [Kind.RECOVERED]
    assert await standing(database) == ("healthy", 0, None, False)


async def test_ten_failed_tries_open_the_breaker(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id)
    await fail(database, 10)
    assert await standing(database) == ("failing", 10, "4 tries in a row failed", True)
    assert await claim_due(database) == []


async def test_tries_that_end_together_are_judged_one_after_the_other(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id, 12)
    tries = await claim_due(database, 12)
    recorded = await record(database, *[failed(due, MINUTE) for due in tries])
    assert [event.kind for one in recorded for event in one.events] == [Kind.FAILING]
    assert await standing(database) == ("failing", 12, "4 tries in a row failed", True)


async def test_processes_whose_tries_fail_at_once_forget_no_failure(
    database_url: str, tmp_path: Path, database: Database, workspace_id: str
) -> None:
    await owe(database, workspace_id, 40)
    tries = await claim_due(database, 40)
    other = open_database(database_url, tmp_path)

    async def tell(by: Database, mine: Sequence[Any]) -> None:
        for due in mine:
            await record(by, failed(due, MINUTE))

    await asyncio.gather(tell(database, tries[::2]), tell(other, tries[1::2]))
    await other.aclose()
    assert (await standing(database))[:2] == ("failing", 40)


async def test_endpoints_are_judged_apart(database: Database, workspace_id: str) -> None:
    for at in "ab":
        await owe(database, workspace_id, 4, at=at)
    tries = await claim_due(database, 8)
    calls = {"a" * 32: Call.FAILED, "b" * 32: Call.ANSWERED}
    await record(database, *[attempt_result(due, call=calls[due.endpoint]) for due in tries])
    states = await select(database, "SELECT id, state, failures FROM endpoints ORDER BY id")
    assert states == [("a" * 32, "failing", 4), ("b" * 32, "healthy", 0)]


@pytest.mark.parametrize("call", [Call.GONE, Call.UNWANTED])
async def test_it_is_disabled_where_no_more_is_wanted_and_the_rest_is_stopped(
    database: Database, workspace_id: str, call: Call
) -> None:
    await owe(database, workspace_id, 3)
    (due,) = await claim_due(database, 1)
    (recorded,) = await record(database, attempt_result(due, State.STOPPED, status_code=410, call=call))
    assert [event.kind for event in recorded.events] == [Kind.DISABLED]
    assert await claim_due(database) == []
    assert await select(database, "SELECT state, count(*) FROM deliveries GROUP BY state") == [("stopped", 3)]


async def test_it_is_disabled_after_five_days_of_only_failures(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id)
    await fail(database, 5)
    ((began,),) = await select(database, "SELECT since FROM endpoints")

    async def fail_after(age: int) -> list[tuple[Kind, str | None]]:
        await execute(database, "UPDATE endpoints SET since = :since", since=began - age)
        return [(event.kind, event.reason) for event in await fail(database, 1)]

    assert await fail_after(DISABLED_AFTER_MS - MINUTE) == []
    assert await fail_after(DISABLED_AFTER_MS) == [(Kind.DISABLED, ONLY_FAILURES)]
    assert (await standing(database))[0] == "disabled"


async def test_a_delivery_that_is_given_up_is_told_of(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id)
    (due,) = await claim_due(database)
    (recorded,) = await record(database, attempt_result(due, State.EXHAUSTED, status_code=500, call=Call.FAILED))
    assert [(event.kind, event.delivery) for event in recorded.events] == [(Kind.EXHAUSTED, due.id)]


async def test_one_that_is_given_up_for_a_reason_of_ours_is_told_of_too(database: Database, workspace_id: str) -> None:
    """As when its target cannot be read any more; that says nothing about its endpoint."""
    await owe(database, workspace_id)
    (due,) = await claim_due(database)
    ours = attempt_result(due, State.EXHAUSTED, status_code=None, error="could not be sent", origin=due.origin)
    (recorded,) = await record(database, ours)
    (event,) = recorded.events
    assert (event.kind, event.reason, event.origin) == (Kind.EXHAUSTED, "could not be sent", "https://e.example")
    assert await standing(database) == ("healthy", 0, None, False)


@pytest.mark.parametrize("manual", [False, True])
async def test_one_whose_address_is_not_allowed_is_told_of(
    database: Database, workspace_id: str, *, manual: bool
) -> None:
    await owe(database, workspace_id)
    await execute(database, f"UPDATE deliveries SET manual = {str(manual).lower()}")
    (due,) = await claim_due(database)
    assert (due.manual, due.state) == (manual, State.PENDING)
    refused = attempt_result(due, State.REFUSED, status_code=None, error="address not allowed")
    (recorded,) = await record(database, refused)
    (event,) = recorded.events
    assert (event.kind, event.reason, event.delivery) == ("delivery.refused", "address not allowed", due.id)
    assert await standing(database) == ("healthy", 0, None, False)


async def test_a_replay_of_one_that_was_given_up_is_not_told_of_again(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id)
    (due,) = await claim_due(database)
    await record(database, attempt_result(due, State.EXHAUSTED, status_code=500, call=Call.FAILED))
    await execute(database, "UPDATE deliveries SET manual = true, due = 0")
    (again,) = await claim_due(database)
    assert (again.manual, again.state, again.attempt, again.step) == (True, State.EXHAUSTED, 2, 1)
    before = await select(database, "SELECT finished FROM deliveries")
    (recorded,) = await record(
        database, attempt_result(again, State.EXHAUSTED, status_code=500, call=Call.FAILED, was=State.EXHAUSTED)
    )
    assert (recorded.settled, recorded.events) == (True, ())
    assert await select(database, "SELECT state, manual, due FROM deliveries") == [("exhausted", False, None)]
    assert await select(database, "SELECT finished FROM deliveries") == before


async def test_a_try_that_was_overtaken_says_nothing_about_its_endpoint(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id)
    (stale,) = await claim_due(database, lease_ms=-1000)
    await claim_due(database)
    (recorded,) = await record(database, failed(stale))
    assert (recorded.settled, recorded.events) == (False, ())
    assert (await standing(database))[1] == 0


@dataclass
class Operator:
    """Owes its operator a webhook for each event."""

    workspace: str
    heard: list[Event] = field(default_factory=list)

    def tell(self, event: Event) -> NewDelivery:
        self.heard.append(event)
        return NewDelivery(
            id=new_id(),
            batch=None,
            workspace=self.workspace,
            run=1,
            event=event.kind,
            endpoint=endpoint(self.workspace, "o"),
            target=b"box",
            body=event.kind.encode(),
        )


async def test_what_is_told_is_owed_in_the_commit_of_the_try(database: Database, workspace_id: str) -> None:
    await owe(database, workspace_id)
    operator = Operator(workspace_id)
    for _ in range(4):
        due = next(one for one in await claim_due(database) if one.batch)
        await database.writer.write(record_attempts, Report(failed(due), operator.tell))
    columns = "batch_id, event, endpoint, body, state, attempts"
    assert await select(database, f"SELECT {columns} FROM deliveries WHERE batch_id IS NULL") == [
        (None, "endpoint.failing", "o" * 32, b"endpoint.failing", "pending", 0)
    ]
    assert [event.kind for event in operator.heard] == [Kind.FAILING]


async def test_of_several_who_enable_an_endpoint_at_once_one_is_told_that_it_was_done(
    database: Database, workspace_id: str
) -> None:
    await owe(database, workspace_id)
    await execute(database, "UPDATE endpoints SET state = 'disabled'")
    ((id,),) = await select(database, "SELECT id FROM endpoints")
    told = await asyncio.gather(*[database.writer.write(enable_endpoints, id) for _ in range(3)])
    assert told == [True, False, False]
    assert await standing(database) == ("healthy", 0, None, False)
