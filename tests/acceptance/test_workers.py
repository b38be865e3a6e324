"""Workers that die or stop in the middle of a batch: it ends in DONE, and finished records stay finished."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest

from tests.acceptance.fleet import Fleet
from tests.acceptance.nap import Nap
from tests.acceptance.processes import Commands, until


@pytest.fixture
def nap(tmp_path: Path) -> Nap:
    return Nap(tmp_path)


@pytest.fixture
def fleet(sleepy_commands: Commands, database_url: str) -> Fleet:
    return Fleet(sleepy_commands, database_url)


def test_a_killed_workers_batch_is_done_after_its_lease_and_stored_records_are_not_run_again(
    fleet: Fleet, nap: Nap
) -> None:
    api = fleet.start_web()
    killed = fleet.start_worker(BROKER_LEASE_SECONDS="2", BROKER_WORKER_THREADS="4")
    id = nap.submit(api, quick=3)
    until(lambda: len(fleet.rows("results", id)) == 3, "the quick records are stored")
    until(lambda: nap.runs == [0, 1, 2, 3], "the last record has begun")
    killed.process.kill()
    nap.open_gate()
    fleet.start_worker(BROKER_LEASE_SECONDS="2")
    records = api.done(id)
    assert [record["_status"]["code"] for record in records] == [200] * 4
    assert nap.runs == [0, 1, 2, 3, 3]


@pytest.mark.parametrize("stubborn", [False, True], ids=["heeding", "stubborn"])
def test_a_stopping_workers_batch_goes_at_once_to_another_one(fleet: Fleet, nap: Nap, stubborn: bool) -> None:
    """Long before its lease ends, even where a handler does not heed that it is cancelled."""
    api = fleet.start_web()
    first = fleet.start_worker(BROKER_LEASE_SECONDS="600", BROKER_GRACE_SECONDS="0.2")
    id = nap.submit(api, quick=0, stubborn=stubborn)
    until(lambda: nap.runs == [0], "the record has begun")
    first.signal(signal.SIGTERM)
    assert first.wait(20) == 0
    assert api.get(f"/account/v2/request/{id}/status").json() == {"status": "CREATED"}
    assert first.says('"event": "batch.given_back"')
    nap.open_gate()
    fleet.start_worker(BROKER_LEASE_SECONDS="600")
    assert api.done(id)[0]["_status"]["code"] == 200
    assert nap.runs == [0, 0]


def test_a_stopping_worker_ends_what_it_can_within_its_grace(fleet: Fleet, nap: Nap) -> None:
    api = fleet.start_web()
    worker = fleet.start_worker(BROKER_LEASE_SECONDS="600")
    id = nap.submit(api, quick=0)
    until(lambda: nap.runs == [0], "the record has begun")
    worker.signal(signal.SIGTERM)
    nap.open_gate()
    assert worker.wait() == 0
    assert api.details(id)["status"] == "DONE"
    assert nap.runs == [0]


def test_a_killed_web_has_lost_no_accepted_batch(fleet: Fleet) -> None:
    api = fleet.start_web()
    ids = [api.submit() for _ in range(5)]
    fleet.web.process.kill()
    with pytest.raises(httpx.TransportError):
        api.get("/healthz")
    again = fleet.start_web()
    fleet.start_worker()
    for id in ids:
        assert again.done(id)[0]["_status"]["code"] == 200
