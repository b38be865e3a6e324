"""Workers that are killed after a batch's end is committed: its webhook comes from another one."""

from __future__ import annotations

import signal

import pytest

from broker.store.database import open_database
from tests.acceptance.broker import Api
from tests.acceptance.fleet import Fleet
from tests.acceptance.processes import Commands, Running, until
from tests.acceptance.receiver import Received, Receiver
from tests.databases import run_aside
from tests.integration.store.rows import execute

HOLD = {
    "sqlite": ["CREATE TRIGGER hold BEFORE INSERT ON attempts BEGIN SELECT RAISE(ABORT, 'not yet'); END"],
    "postgresql": [
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not yet''; END'",
        "CREATE TRIGGER hold BEFORE INSERT ON attempts FOR EACH ROW EXECUTE FUNCTION hold()",
    ],
}
LET_GO = {"sqlite": ["DROP TRIGGER hold"], "postgresql": ["DROP TRIGGER hold ON attempts"]}


@pytest.fixture
def fleet(commands: Commands, database_url: str) -> Fleet:
    return Fleet(commands.with_environment(BROKER_ALLOW_NETWORKS="127.0.0.0/8"), database_url)


def change(fleet: Fleet, *statements: str) -> None:
    async def run() -> None:
        database = open_database(fleet.database_url, fleet.commands.folder)
        for statement in statements:
            await execute(database, statement)
        await database.aclose()

    run_aside(run())


def kill(worker: Running) -> None:
    worker.signal(signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL


def announce(api: Api, receiver: Receiver) -> str:
    return api.submit(webhook={"endpoint": f"{receiver.url}/hook"})


def sent_for(event: Received) -> str:
    return event.headers["webhook-id"]


def delivery_of(fleet: Fleet, batch: str) -> tuple[str, str, int]:
    (row,) = fleet.rows("deliveries", batch)
    return str(row["id"]), row["state"], row["attempts"]


def test_a_webhook_that_a_killed_worker_had_not_begun_to_send_comes_once(fleet: Fleet, receiver: Receiver) -> None:
    """No attempt can be stored, so the worker cannot send before it is killed. It is owed by who cancels its batch."""
    kind = fleet.database_url.partition(":")[0]
    change(fleet, *HOLD[kind])
    api = fleet.start_web()
    batch = announce(api, receiver)
    api.cancel(batch)
    worker = fleet.start_worker()
    until(lambda: worker.says("not yet"), "the worker has tried to send")
    kill(worker)
    assert receiver.received.empty()
    change(fleet, *LET_GO[kind])
    fleet.start_worker()
    first = receiver.next()
    other = announce(api, receiver)
    second = receiver.next()
    until(lambda: delivery_of(fleet, batch)[1] == delivery_of(fleet, other)[1] == "delivered", "both are delivered")
    assert delivery_of(fleet, batch) == (sent_for(first), "delivered", 1)
    assert delivery_of(fleet, other) == (sent_for(second), "delivered", 1)


def test_a_webhook_that_a_killed_worker_was_sending_comes_again_as_the_same(fleet: Fleet, receiver: Receiver) -> None:
    api = fleet.start_web()
    worker = fleet.start_worker()
    receiver.gate.clear()
    batch = announce(api, receiver)
    first = receiver.next()
    kill(worker)
    receiver.gate.set()
    change(fleet, "UPDATE deliveries SET due = 0")  # as when the dead worker's lease of it is over
    fleet.start_worker()
    again = receiver.next()
    assert (again.body, sent_for(again)) == (first.body, sent_for(first))
    other = announce(api, receiver)
    assert sent_for(receiver.next()) == delivery_of(fleet, other)[0]
    until(lambda: delivery_of(fleet, batch) == (sent_for(first), "delivered", 2), "it is delivered by the second try")
