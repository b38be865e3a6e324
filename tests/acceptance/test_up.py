"""`broker up`: what it leaves in its folder, how it stops, what it refuses, what it survives."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.cli.up import LOOK_SECONDS
from tests.acceptance.broker import Up, is_up, start_up
from tests.acceptance.nap import Nap
from tests.acceptance.processes import Commands, Running, Seen, until
from tests.acceptance.receiver import Receiver

NEVER_BOUND = "redis://127.0.0.1:1"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def kill(child: Seen) -> None:
    child.kill()
    until(lambda: not child.alive, "it is gone")


@contextmanager
def web_stopped(running: Running) -> Iterator[None]:
    """While `up` starts, its web stands still."""
    seen: list[Seen] = []

    def begins() -> bool:
        if web := running.child("web"):  # of which a second look may find less, as it becomes what it is to be
            seen.append(web)
        return bool(seen)

    until(begins, "web begins")
    os.kill(seen[0].pid, signal.SIGSTOP)
    yield
    os.kill(seen[0].pid, signal.SIGCONT)


def assert_stopped(up: Up, children: list[Seen]) -> None:
    assert [child for child in children if child.alive] == []
    assert up.commands.temporary_files == []
    assert not (up.folder / "url").exists()
    assert not (up.folder / "valkey" / "valkey.sock").is_symlink()
    assert not (up.folder / "valkey" / "valkey.sock").exists()


def test_sigterm_and_ctrl_c_drain_and_leave_nothing_behind_and_a_restart_finds_everything(commands: Commands) -> None:
    first = start_up(commands, "--workers", "2", data_dir="a folder/data")
    children = first.running.children
    token = first.token
    assert len(children) == 4  # Valkey, web, two workers
    assert mode(first.folder) == 0o700
    assert {mode(first.folder / name) for name in ("token", "secret_key")} == {0o600}
    assert first.api.get("/readyz").json()["checks"]["redis"] == "ok"
    ids = [first.api.submit() for _ in range(4)]
    first.running.interrupt()
    assert first.running.wait() == 0
    assert_stopped(first, children)

    second = start_up(commands, data_dir="a folder/data")
    children = second.running.children
    assert second.token == token
    assert all(second.api.done(id)[0]["_status"]["code"] == 200 for id in ids)
    assert second.running.stop() == 0
    assert_stopped(second, children)


def test_a_second_up_on_the_folder_is_refused_and_the_first_goes_on(up: Up) -> None:
    refused = up.commands.run("up", "--port", "0", "--data-dir", "data")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == "broker: a broker is running already on the data folder data\n"
    assert up.api.done(up.api.submit())


def test_a_port_in_use_is_told(commands: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = commands.run("up", "--port", str(port), "--data-dir", "data")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == f"broker: cannot listen on 127.0.0.1 port {port}: Address already in use\n"


def test_a_data_folder_that_cannot_be_one_is_told(commands: Commands) -> None:
    (commands.folder / "data").touch()
    refused = commands.run("up", "--port", "0", "--data-dir", "data")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == "broker: the data folder data cannot be used: File exists\n"


@pytest.mark.parametrize("options", [("--allow-network", "nonsense"), ("--workers", "0")])
def test_an_impossible_option_is_refused_before_anything_starts(commands: Commands, options: tuple[str, ...]) -> None:
    refused = commands.run("up", "--data-dir", "data", *options)
    assert refused.code in (1, 2)
    assert "Traceback" not in refused.err
    assert not (commands.folder / "data").exists()


def test_an_operator_webhook_that_could_never_be_sent_is_refused_before_anything_starts(commands: Commands) -> None:
    refused = commands.with_environment(BROKER_OPERATOR_WEBHOOK="http://10.0.0.1/").run("up", "--data-dir", "data")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == "broker: BROKER_OPERATOR_WEBHOOK: Host 10.0.0.1 is not allowed.\n"
    assert not (commands.folder / "data").exists()


def test_a_killed_up_takes_its_children_along_and_the_next_one_works(commands: Commands) -> None:
    commands = commands.with_environment(BROKER_LEASE_SECONDS="2")
    first = start_up(commands)
    children = first.running.children
    id = first.api.submit()
    first.running.process.kill()
    until(lambda: not any(child.alive for child in children), "the children are gone")
    second = start_up(commands)
    assert second.api.done(id)[0]["_status"]["code"] == 200
    assert second.running.stop() == 0


def test_killed_children_are_started_again_and_the_service_goes_on(commands: Commands) -> None:
    """One that is killed before all is ready, too."""
    running = commands.start("up", "--port", "0", "--data-dir", "data")
    up = Up(running, commands.folder / "data", commands)
    with web_stopped(running):
        until(lambda: running.says("worker.started"), "its worker has started")
        worker = running.child("worker")
        assert worker is not None
        kill(worker)
        until(lambda: running.child("worker"), "another begins")
    until(lambda: is_up(up), "it is ready")
    for name in ("web", "worker", "valkey"):
        child = up.running.valkey() if name == "valkey" else up.running.child(name)
        assert child is not None
        kill(child)
    until(lambda: len(up.running.children) == 3, "all three run again")
    until(lambda: is_up(up), "it is ready again")
    until(lambda: up.api.get("/readyz").json()["status"] == "ready", "Redis is back")
    assert up.api.done(up.api.submit())[0]["_status"]["code"] == 200
    assert up.running.stop() == 0


def test_a_process_that_cannot_start_is_told_and_ends_it(commands: Commands, tmp_path: Path) -> None:
    package = tmp_path / "broken_type-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-type\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[broker.handlers]\nbroken = broken_type:SPEC\n")
    spec = "from handlers.contract import Params, Spec\n"
    spec += "SPEC = Spec('broken', {'break': Params}, 'break', 'no_such_module:Broken', 'Has no module.')\n"
    (tmp_path / "broken_type.py").write_text(spec)
    running = commands.with_packages(tmp_path).start("up", "--port", "0", "--data-dir", "data")
    with web_stopped(running):  # or it may be ready before
        until(lambda: running.says("No module named 'no_such_module'"), "its worker has ended")
    assert running.wait() == 1
    assert running.says("broker: the process worker 1 did not start")
    assert not running.says("The broker is ready")
    assert running.children == []


def test_a_path_too_long_for_a_socket(commands: Commands) -> None:
    up = start_up(commands, data_dir="/".join(["a long name with spaces and ümlauts"] * 8))
    assert up.api.get("/readyz").json()["checks"]["redis"] == "ok"
    children = up.running.children
    assert up.api.done(up.api.submit())[0]["_status"]["code"] == 200
    assert up.running.stop() == 0
    assert_stopped(up, children)


def test_without_redis_work_is_found_in_sql(commands: Commands) -> None:
    up = start_up(commands.with_environment(BROKER_REDIS_URL=NEVER_BOUND))
    ready = up.api.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert ready.json()["checks"]["redis"] != "ok"
    assert up.api.done(up.api.submit())[0]["_status"]["code"] == 200
    time.sleep(LOOK_SECONDS + 0.2)
    assert up.running.valkey() is None
    assert not up.running.says("up.restarting")
    assert up.running.stop() == 0


def test_sigterm_to_every_process_at_once_still_drains(commands: Commands) -> None:
    """What systemd does: the children get the signal from it and from their parent."""
    up = start_up(commands)
    children = up.running.children
    for pid in [up.running.pid, *(child.pid for child in children)]:
        os.kill(pid, 15)
    assert up.running.wait() == 0
    assert_stopped(up, children)


def test_a_database_that_takes_no_writes_as_it_stops_does_not_make_it_kill_its_worker(
    sleepy_commands: Commands, receiver: Receiver, tmp_path: Path
) -> None:
    """Its worker waits for long then, with a batch that runs and an answer that it could not record yet."""
    nap = Nap(tmp_path)
    short = sleepy_commands.with_environment(BROKER_GRACE_SECONDS="1", BROKER_WEBHOOK_TIMEOUT="2")
    up = start_up(short, "--allow-network", "127.0.0.0/8")
    receiver.gate.clear()
    up.api.submit(webhook={"endpoint": f"{receiver.url}/hook"})
    receiver.next()
    nap.submit(up.api, 1)
    until(lambda: nap.runs == [0, 1], "a record runs that does not end")
    with (up.folder / "broker.sqlite3.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        receiver.gate.set()
        assert up.running.stop() == 0
    assert not up.running.says("up.killed")


def test_while_it_drains_a_new_connection_is_refused_at_once(sleepy_commands: Commands, tmp_path: Path) -> None:
    """A proxy can then ask another broker; it would hang in a backlog that nobody empties, and be reset at the end."""
    nap = Nap(tmp_path)
    up = start_up(sleepy_commands.with_environment(BROKER_GRACE_SECONDS="600"))
    address = urlsplit(up.url)
    nap.submit(up.api, quick=0)
    until(lambda: nap.runs == [0], "the record has begun")
    up.running.signal(signal.SIGTERM)
    until(lambda: up.running.child("web") is None, "web has ended")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname, address.port)).close()
    assert up.running.child("worker") is not None
    nap.open_gate()
    assert up.running.wait() == 0


def test_a_stop_while_it_starts_leaves_nothing_behind(commands: Commands) -> None:
    running = commands.start("up", "--port", "0", "--data-dir", "data")
    until(running.valkey, "Valkey runs")
    up = Up(running, commands.folder / "data", commands)
    children = running.children
    assert running.stop() == 0
    assert_stopped(up, children)


def test_a_stop_while_it_waits_for_its_database_ends_it_in_good_order(commands: Commands) -> None:
    folder = commands.folder / "data"
    folder.mkdir()
    with (folder / "broker.sqlite3.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        running = commands.start("up", "--port", "0", "--data-dir", "data")
        until(running.valkey, "all that it waits for is its database")
        up = Up(running, folder, commands)
        children = running.children
        assert running.stop() == 0
    assert_stopped(up, children)


def test_a_token_file_that_the_database_does_not_know_is_replaced(commands: Commands) -> None:
    folder = commands.folder / "data"
    folder.mkdir()
    (folder / "token").touch()
    up = start_up(commands)
    assert up.api.get("/account/v2/request").status_code == 200
    assert mode(folder / "token") == 0o600
