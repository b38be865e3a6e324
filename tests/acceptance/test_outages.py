"""Databases that restart and disks that are full under real processes: POSTs wait or are refused, nothing is lost."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.broker import ROOT, as_base64
from tests.acceptance.fleet import Fleet
from tests.acceptance.load import Load
from tests.acceptance.nap import Nap
from tests.acceptance.processes import Commands, Running, until
from tests.databases import PostgresServer, remove_postgres, temporary_postgres_folder

LEASE = {"BROKER_LEASE_SECONDS": "2"}
ROOM = 2_000_000
"""More than the database's log grows to in a test, less than BULKY."""
BULKY = 3_000_000


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    folder = temporary_postgres_folder()
    server = PostgresServer(folder)
    server.start()
    yield server
    remove_postgres(folder)


@contextmanager
def full_disk(running: Running, room: int = 0) -> Iterator[None]:
    """The process may write to no place in a file beyond `room` bytes; its log, as on a full disk, included."""
    soft, hard = resource.prlimit(running.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (soft, hard))


def assert_all_run(*processes: Running) -> None:
    assert [process.process.poll() for process in processes] == [None] * len(processes)


def test_restarts_and_lost_sessions_of_postgresql_under_load_lose_nothing(
    commands: Commands, own_server: PostgresServer
) -> None:
    name = own_server.create()
    fleet = Fleet(commands.with_environment(**LEASE), own_server.url(name))
    load = Load(fleet.start_web())
    workers = [fleet.start_worker() for _ in range(2)]
    with load.running():
        load.goes_on()
        for how in (signal.SIGINT, signal.SIGQUIT):
            own_server.stop(how)
            load.meets_refusal()
            assert load.api.get("/readyz").json()["status"] == "unready"
            own_server.start()
            load.goes_on()
        for _ in range(3):
            own_server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            load.goes_on()
    assert load.wrong == []
    for id in load.accepted:
        assert load.api.done(id)[0]["_status"]["code"] == 200
    assert load.api.get(f"{ROOT}?page_size=1").json()["count"] == len(load.accepted)
    assert_all_run(fleet.web, *workers)


@pytest.fixture
def fleet(sleepy_commands: Commands, database_url: str) -> Fleet:
    return Fleet(sleepy_commands, database_url)


def files(fleet: Fleet) -> set[Path]:
    return {path for path in (fleet.commands.folder / "data" / "blobs").rglob("*") if path.is_file()}


def test_web_on_a_full_disk_refuses_and_accepts_again_once_there_is_room(fleet: Fleet) -> None:
    api = fleet.start_web()
    kept = [api.submit()]
    before = files(fleet)
    bodies = [[{"_base64": as_base64()}]]
    if fleet.database_url.startswith("sqlite"):
        bodies.append([{"_url": "https://images.example.com/a.jpg"}])  # nothing to store but the row
    with full_disk(fleet.web):
        for records in bodies * 2:
            answer = api.post(type="upscaler", records=records)
            assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
        assert api.get(ROOT).json()["count"] == 1
    assert files(fleet) == before
    kept.append(api.submit())
    fleet.start_worker()
    assert [api.done(id)[0]["_status"]["code"] for id in kept] == [200, 200]
    assert api.get(ROOT).json()["count"] == 2
    assert_all_run(fleet.web)


def test_worker_on_a_full_disk_gives_back_what_it_cannot_store_and_ends_it_once_there_is_room(
    fleet: Fleet, tmp_path: Path
) -> None:
    api, nap = fleet.start_web(), Nap(tmp_path)
    worker = fleet.start_worker()
    with full_disk(worker, ROOM):
        id = nap.submit_records(api, {"output_bytes": BULKY})
        until(lambda: claims(fleet, id) >= 2, "it is claimed again")
        assert fleet.rows("results", id) == []
    assert api.done(id)[0]["_status"]["code"] == 200
    (batch,) = fleet.rows("batches", id)
    assert (batch["outcome"], batch["crashes"]) == ("succeeded", 0)
    with full_disk(worker):
        id = nap.submit(api, quick=0)
        nap.open_gate()
        api.get(f"{ROOT}/{id}?wait=1")
    assert api.done(id)[0]["_status"]["code"] == 200
    assert_all_run(worker)


def claims(fleet: Fleet, id: str) -> int:
    (batch,) = fleet.rows("batches", id)
    return int(batch["lease_seq"])
