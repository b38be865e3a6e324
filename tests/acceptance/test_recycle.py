"""A handler's thread that does not end costs a restart of its worker; an isolated one ends with its worker."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.broker import Api, as_base64, start_up
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


def begin_deaf(api: Api, folder: Path, type: str) -> str:
    """A batch whose record has begun and never ends."""
    record = {"_base64": as_base64(), "act": "deaf", "gate": str(folder / "gate"), "notes": str(folder / "notes")}
    id = api.submit([record], type=type)
    until((folder / "notes").exists, "the record has begun")
    return id


def test_worker_with_a_deaf_thread_is_started_anew_and_its_batch_is_done(
    slow_commands: Commands, tmp_path: Path
) -> None:
    up = start_up(slow_commands)
    first = up.running.child("worker")
    assert first is not None
    id = begin_deaf(up.api, tmp_path, "slow")
    assert codes(up.api.done(id)) == [504]
    until(lambda: not first.alive, "the worker has ended")
    assert codes(up.api.done(up.api.submit())) == [200]
    second = up.running.child("worker")
    assert second is not None
    assert second.pid != first.pid
    assert up.running.says("worker.recycling")
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
