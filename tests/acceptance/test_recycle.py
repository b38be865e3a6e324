"""A handler that does not end costs a restart of its worker, whatever it holds; an isolated one ends with it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.broker import ROOT, Api, as_base64, start_up
from tests.acceptance.fleet import Fleet
from tests.acceptance.processes import Commands, Running, Seen, running_processes, until

SLOW_TYPES = Path(__file__).parents[1] / "slow_types"
RECYCLED = 75


@pytest.fixture
def slow_commands(commands: Commands) -> Commands:
    """Commands with the types of `tests/slow_types` installed."""
    return commands.with_packages(SLOW_TYPES)


@pytest.fixture
def fleet(slow_commands: Commands, database_url: str) -> Fleet:
    return Fleet(slow_commands, database_url)


def codes(records: list[dict[str, Any]]) -> list[int]:
    return [record["_status"]["code"] for record in records]


def isolated(worker: Running) -> list[Seen]:
    return [seen for seen in worker.children if "broker.work.isolated" in seen.command]


def begin_deaf(api: Api, folder: Path, type: str, act: str = "deaf") -> str:
    """A batch whose record has begun and never ends."""
    record = {"_base64": as_base64(), "act": act, "gate": str(folder / "gate"), "notes": str(folder / "notes")}
    id = api.submit([record], type=type)
    until((folder / "notes").exists, "the record has begun")
    return id


@pytest.mark.parametrize("type", ["slow", "slow-loop"], ids=["thread", "coroutine"])
def test_worker_with_a_deaf_handler_is_started_anew_and_its_batch_is_done(
    slow_commands: Commands, tmp_path: Path, type: str
) -> None:
    up = start_up(slow_commands)
    first = up.running.child("worker")
    assert first is not None
    id = begin_deaf(up.api, tmp_path, type)
    assert codes(up.api.done(id)) == [504]
    until(lambda: not first.alive, "the worker has ended")
    assert codes(up.api.done(up.api.submit())) == [200]
    second = up.running.child("worker")
    assert second is not None
    assert second.pid != first.pid
    assert up.running.says("worker.recycling")
    assert up.running.says('"reason": "recycled"')
    assert up.running.stop() == 0


def test_recycled_worker_says_so_by_its_exit_status_and_gives_the_rest_back(fleet: Fleet, tmp_path: Path) -> None:
    api = fleet.start_web()
    worker = fleet.start_worker("--types", "slow", BROKER_GRACE_SECONDS="0", BROKER_WORKER_THREADS="1")
    begin_deaf(api, tmp_path, "slow")
    id = api.submit([{"_base64": as_base64(), "act": "sleep", "seconds": 1}] * 8, type="slow")
    assert worker.wait() == RECYCLED
    assert worker.says('"event": "batch.given_back"')
    fleet.start_worker("--types", "slow")
    assert codes(api.done(id)) == [200] * 8


def test_worker_that_is_recycled_while_it_stops_has_stopped_in_good_order(
    slow_commands: Commands, sqlite_url: str, tmp_path: Path
) -> None:
    fleet = Fleet(slow_commands, sqlite_url)
    api = fleet.start_web()
    worker = fleet.start_worker("--types", "slow", BROKER_GRACE_SECONDS="60", BROKER_WORKER_THREADS="1")
    begin_deaf(api, tmp_path, "slow")
    id = api.submit([{"_base64": as_base64(), "act": "sleep", "seconds": 1}] * 8, type="slow")
    until(lambda: fleet.rows("batches", id)[0]["status"] == "PROCESSING", "the worker has taken it")
    assert worker.stop() == 0
    assert worker.says("worker.recycling")


def test_threads_that_a_handler_left_cost_no_other_batch_anything_but_a_restart(fleet: Fleet, tmp_path: Path) -> None:
    """As many as `asyncio.to_thread` has; the other batch stores a file on the disk."""
    api = fleet.start_web()
    worker = fleet.start_worker("--types", "slow,slow-loop,slow-lasting")
    left = begin_deaf(api, tmp_path, "slow-loop", "threads")
    assert codes(api.done(left)) == [504]
    other = api.submit([{"_base64": as_base64(), "act": "files"}], type="slow")
    assert codes(api.done(other)) == [200]
    assert worker.wait() == RECYCLED
    assert worker.says("a thread that a handler began goes on")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_isolated_processes_end_with_their_worker(fleet: Fleet, tmp_path: Path, end: signal.Signals) -> None:
    """A busy one and an idle one."""
    api = fleet.start_web()
    worker = fleet.start_worker("--types", "slow-patient,slow-other", BROKER_GRACE_SECONDS="0.2")
    begin_deaf(api, tmp_path, "slow-patient")
    children = isolated(worker)
    assert len(children) == 2
    worker.signal(end)
    assert worker.wait() == (0 if end == signal.SIGTERM else -signal.SIGKILL)
    until(lambda: not set(children) & set(running_processes()), "the isolated processes have ended")


@pytest.mark.parametrize("act", ["deaf", "threads"])
def test_what_does_not_heed_its_cancellation_does_not_keep_a_stopped_worker(
    fleet: Fleet, tmp_path: Path, act: str
) -> None:
    """A coroutine that swallows it, or threads of `to_thread`, as many as there are."""
    api = fleet.start_web()
    worker = fleet.start_worker("--types", "slow-loop", BROKER_GRACE_SECONDS="0.2")
    id = begin_deaf(api, tmp_path, "slow-loop", act)
    assert worker.stop() == 0
    (batch,) = fleet.rows("batches", id)
    assert (batch["status"], batch["crashes"]) == ("CREATED", 0)


@pytest.mark.parametrize(("type", "act"), [("slow-loop", "deaf"), ("slow", "hold")], ids=["event loop", "global lock"])
def test_a_worker_that_is_held_beyond_all_time_limits_ends_and_only_the_guilty_batch_pays(
    fleet: Fleet, tmp_path: Path, type: str, act: str
) -> None:
    fleet.commands = fleet.commands.with_environment(BROKER_LEASE_SECONDS="1", BROKER_MAX_CRASHES="2")
    api = fleet.start_web()
    notes = str(tmp_path / "notes")
    innocent = api.submit([{"_base64": as_base64(), "act": "elsewhere", "notes": notes}] * 2, type="slow-lasting")
    guilty = api.submit([{"_base64": as_base64(), "act": act, "gate": notes}], type=type)
    held = 0
    while status(api, guilty) != "DONE":
        held += is_held(fleet, api, guilty)
    # One that holds the lock of SQLite, too, keeps the sweep from being sure that it was a crash.
    assert held == 2 or (held > 2 and fleet.web.says("sweep.failed"))
    assert codes(api.done(innocent)) == [200, 200]
    assert codes(api.done(guilty)) == [500]


def status(api: Api, id: str) -> str:
    return str(api.get(f"{ROOT}/{id}").json()["status"])


def is_held(fleet: Fleet, api: Api, id: str) -> bool:
    """Whether a new worker is held by a batch until it ends; else the batch is DONE."""
    worker = fleet.start_worker("--types", "slow,slow-loop,slow-lasting", BROKER_WORKER_THREADS="3")
    until(lambda: worker.process.poll() is not None or status(api, id) == "DONE", "the worker or the batch has ended")
    if worker.process.poll() is None:
        return False
    assert worker.wait() == 1
    assert worker.says("Timeout")
    return True
