"""Redis that is away, databases that restart and disks that are full, under real processes: nothing is lost."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from broker.queue.embedded import EmbeddedValkey
from tests.acceptance.broker import PHOTOGRAPHS, ROOT, as_base64
from tests.acceptance.fleet import Fleet
from tests.acceptance.load import Load
from tests.acceptance.nap import Nap
from tests.acceptance.processes import Commands, Running, until
from tests.databases import PostgresServer

LEASE = {"BROKER_LEASE_SECONDS": "2"}
ROOM = 2_000_000
"""More than the database's log grows to in a test, less than BULKY."""
BULKY = 3_000_000


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


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """One that is not running; its URL is known."""
    valkey = EmbeddedValkey(tmp_path / "redis")
    valkey.start()
    valkey.stop()
    yield valkey
    valkey.stop()


def test_whatever_redis_does_posts_are_answered_and_batches_are_done_without_a_restart(
    sleepy_commands: Commands, sqlite_url: str, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    """With a lease so long that a batch which waited for its end would be seen."""
    fleet = Fleet(sleepy_commands.with_environment(BROKER_LEASE_SECONDS="600"), sqlite_url, valkey.url)
    load = Load(fleet.start_web(), tmp_path / "runs")
    workers = [fleet.start_worker() for _ in range(2)]

    def all_goes_on() -> None:
        load.goes_on()
        assert load.api.done(load.accepted[-1])[0]["_status"]["code"] == 200

    def says(status: str) -> None:
        until(lambda: load.api.get("/readyz").json()["status"] == status, f"web says {status}")

    with load.running():
        says("degraded")
        all_goes_on()  # there was no Redis from the start
        valkey.start()
        says("ready")
        with Redis.from_url(valkey.url) as redis:
            for _ in range(3):
                redis.flushall()
                redis.client_kill_filter(_type="normal", skipme=True)
                load.goes_on()
            redis.replicaof("127.0.0.1", "1")  # as a master is after a failover: it takes no writes
            all_goes_on()
            redis.replicaof("NO", "ONE")
            all_goes_on()
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGSTOP)
        says("degraded")
        all_goes_on()
        os.kill(valkey.pid, signal.SIGCONT)
        says("ready")
        valkey.stop()
        says("degraded")
        all_goes_on()
        valkey.start()
        says("ready")
        all_goes_on()
    assert (load.wrong, load.refused) == ([], 0)
    for id in load.accepted:
        assert load.api.done(id)[0]["_status"]["code"] == 200
    assert_all_run(fleet.web, *workers)


def test_restarts_and_lost_sessions_of_postgresql_under_load_lose_nothing(
    sleepy_commands: Commands, own_server: PostgresServer, tmp_path: Path
) -> None:
    name = own_server.create()
    fleet = Fleet(sleepy_commands.with_environment(**LEASE), own_server.url(name))
    load = Load(fleet.start_web(), tmp_path / "runs")
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


def test_web_on_a_full_disk_refuses_and_accepts_again_once_there_is_room(fleet: Fleet) -> None:
    api = fleet.start_web()
    kept = [api.submit()]
    before = fleet.blobs
    bodies = [[{"_base64": as_base64(PHOTOGRAPHS / "coffee.jpg")}]]
    if fleet.database_url.startswith("sqlite"):  # nothing to store but rows
        bodies += [[{"_url": "https://images.example.com/a.jpg"}], [{"_base64": as_base64()}]]
    with full_disk(fleet.web):
        for records in bodies * 2:
            answer = api.post(type="upscaler", records=records)
            assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
        assert api.get(ROOT).json()["count"] == 1
    assert fleet.blobs == before
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
