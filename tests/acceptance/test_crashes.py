"""Workers that are killed, stopped or blocked again and again: what they leave ends well, and nothing is done twice."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.broker import Api
from tests.acceptance.fleet import Fleet
from tests.acceptance.nap import Nap
from tests.acceptance.processes import Commands, until

LEASE = "1"


@pytest.fixture
def nap(tmp_path: Path) -> Nap:
    return Nap(tmp_path)


@pytest.fixture
def fleet(sleepy_commands: Commands, database_url: str) -> Fleet:
    return Fleet(sleepy_commands, database_url)


def state(fleet: Fleet, id: str) -> dict[str, Any]:
    """All that a late write could change."""
    return {table: fleet.rows(table, id) for table in ("batches", "results", "deliveries")}


def test_a_record_that_kills_its_worker_is_given_up_and_its_neighbours_pay_nothing(
    fleet: Fleet, nap: Nap, tmp_path: Path
) -> None:
    api = fleet.start_web(BROKER_LEASE_SECONDS=LEASE)
    id = nap.submit_records(api, {}, {"kills": True}, {})
    (tmp_path / "other").mkdir()
    other = Nap(tmp_path / "other")
    innocent = other.submit(api, quick=1)
    other.open_gate()
    for _ in range(3):
        assert fleet.start_worker(BROKER_LEASE_SECONDS=LEASE, BROKER_WORKER_THREADS="1").wait() == -signal.SIGKILL
    fleet.start_worker(BROKER_LEASE_SECONDS=LEASE)
    codes = [record["_status"]["code"] for record in api.done(id)]
    assert codes == [200, 500, 200]
    assert [record["_status"]["code"] for record in api.done(innocent)] == [200, 200]
    (batch,) = fleet.rows("batches", id)
    assert (batch["outcome"], batch["run"]) == ("partial", 1)
    assert nap.runs.count(1) == 3


def test_a_handler_that_holds_the_event_loop_for_three_leases_keeps_its_lease(fleet: Fleet, nap: Nap) -> None:
    api = fleet.start_web(BROKER_LEASE_SECONDS=LEASE)
    worker = fleet.start_worker(BROKER_LEASE_SECONDS=LEASE)
    id = nap.submit_records(api, {"waits": True}, type="sleepy-loop")
    until(lambda: nap.runs == [0], "the record has begun")
    (first,) = fleet.rows("batches", id)
    until(lambda: fleet.rows("batches", id)[0]["lease_until"] > first["lease_until"] + 3000, "three leases are over")
    nap.open_gate()
    assert api.done(id)[0]["_status"]["code"] == 200
    (batch,) = fleet.rows("batches", id)
    assert (batch["lease_seq"], batch["crashes"], nap.runs) == (1, 0, [0])
    assert not worker.says("lease.lost")
    assert not worker.says("lease.let_go")


def test_a_worker_stopped_for_two_leases_writes_nothing_when_it_wakes(fleet: Fleet, nap: Nap) -> None:
    api = fleet.start_web(BROKER_LEASE_SECONDS=LEASE)
    stopped = fleet.start_worker(BROKER_LEASE_SECONDS=LEASE)
    id = nap.submit(api, quick=0)
    until(lambda: nap.runs == [0], "the record has begun")
    fleet.freeze(stopped, id)
    nap.open_gate()
    fleet.start_worker(BROKER_LEASE_SECONDS=LEASE)
    assert api.done(id)[0]["_status"]["code"] == 200
    before = state(fleet, id)
    assert (before["batches"][0]["lease_seq"], nap.runs) == (2, [0, 0])
    stopped.signal(signal.SIGCONT)
    seen = ("lease.let_go", "lease.lost", "batch.stale")  # the last where its record ended before it looked
    until(lambda: any(map(stopped.says, seen)), "it sees that its lease is over")
    assert works(api, nap, stopped)
    assert state(fleet, id) == before


def test_outputs_of_checkpointed_records_are_not_stored_again_after_a_crash(fleet: Fleet, nap: Nap) -> None:
    api = fleet.start_web(BROKER_LEASE_SECONDS=LEASE)
    killed = fleet.start_worker(BROKER_LEASE_SECONDS=LEASE, BROKER_WORKER_THREADS="3")
    id = nap.submit_records(api, *({"output_bytes": 9, "waits": place == 2} for place in range(3)))
    until(lambda: len(fleet.rows("results", id)) == 2, "what has ended is checkpointed")
    kept = outputs(fleet)
    assert {path.parts[-2:] for path in kept} == {("0", "file"), ("1", "file")}
    killed.signal(signal.SIGKILL)
    killed.wait()
    nap.open_gate()
    fleet.start_worker(BROKER_LEASE_SECONDS=LEASE)
    assert [record["_status"]["code"] for record in api.done(id)] == [200] * 3
    now = outputs(fleet)
    assert {path: now.pop(path, None) for path in kept} == kept
    assert [path.parts[-2:] for path in now] == [("2", "file")]
    assert nap.runs == [0, 1, 2, 2]


def outputs(fleet: Fleet) -> dict[Path, tuple[int, int]]:
    return {path: written for path, written in fleet.blobs.items() if "out" in path.parts}


def works(api: Api, nap: Nap, worker: Any) -> bool:
    """Whether batches go on being done with that worker alive."""
    return api.done(nap.submit(api, quick=0))[0]["_status"]["code"] == 200 and worker.process.poll() is None
