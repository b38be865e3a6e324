"""Signals: the first stops in good order, the second now; either way what runs is free for others at once."""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import suppress
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.errors import Unavailable
from tests.acceptance.broker import ROOT, Api, start_up
from tests.acceptance.fleet import Fleet
from tests.acceptance.nap import Nap
from tests.acceptance.processes import SECONDS, Commands, Running, until

PATIENT = {"BROKER_LEASE_SECONDS": "600", "BROKER_GRACE_SECONDS": "600"}
"""Whoever waited for the end of a lease or of the grace would wait for longer than the test."""


@pytest.fixture
def nap(tmp_path: Path) -> Nap:
    return Nap(tmp_path)


@pytest.fixture
def fleet(sleepy_commands: Commands, sqlite_url: str) -> Fleet:
    return Fleet(sleepy_commands.with_environment(**PATIENT), sqlite_url)


def begin(nap: Nap, api: Api, type: str = "sleepy", **record: bool) -> str:
    """A batch of one record that does not end, once it runs."""
    id = nap.submit_records(api, {"waits": True, **record}, type=type)
    until(lambda: nap.runs == [0], "the record has begun")
    return id


def stop(running: Running) -> None:
    running.signal(signal.SIGTERM)
    until(lambda: running.says("process.stopping"), "it stops")


def ends_now(running: Running) -> bool:
    """Whether one that had a second signal ended as it shall: all closed, or after HURRY_SECONDS on a slow machine."""
    status = running.wait()
    return status == 128 + signal.SIGINT or (status == 0 and running.says("worker.stopped"))


@pytest.mark.parametrize("command", ["up", "web", "worker"])
def test_a_stop_before_its_libraries_are_loaded_ends_it_in_good_order(commands: Commands, command: str) -> None:
    """As the first process of a container it would hear no signal that it has no handler for."""
    tries = (stopped_once_it_hears(commands, command) for _ in range(5))  # a slow machine gives a test no turn for long
    running = next(one for one in tries if "uvloop" not in Path(f"/proc/{one.pid}/maps").read_text())
    running.signal(signal.SIGTERM)
    running.signal(signal.SIGCONT)
    assert running.wait() == 0


def stopped_once_it_hears(commands: Commands, command: str) -> Running:
    """A command that begins, under SIGSTOP from when it has a handler for SIGTERM."""
    running = commands.start(command, before=("env",))
    until(lambda: hears(running.pid, signal.SIGTERM), "it hears the signal")
    running.signal(signal.SIGSTOP)
    return running


def hears(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for this signal."""
    caught = Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0]
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_a_stopped_worker_s_batch_is_free_at_once_after_its_grace_or_a_second_signal(fleet: Fleet, nap: Nap) -> None:
    api = fleet.start_web()
    worker = fleet.start_worker(BROKER_GRACE_SECONDS="0.1")
    id = begin(nap, api)
    assert worker.stop() == 0
    assert is_free(fleet, id, lease_seq=1)
    patient = fleet.start_worker()
    until(lambda: nap.runs == [0, 0], "the record has begun again")
    stop(patient)
    patient.signal(signal.SIGINT)
    assert ends_now(patient)
    assert is_free(fleet, id, lease_seq=2)
    nap.open_gate()
    fleet.start_worker()
    assert api.done(id)[0]["_status"]["code"] == 200


def is_free(fleet: Fleet, id: str, lease_seq: int) -> bool:
    """Whether any worker may claim a batch now."""
    (batch,) = fleet.rows("batches", id)
    assert (batch["status"], batch["crashes"], batch["lease_seq"]) == ("CREATED", 0, lease_seq)
    return bool(batch["due"] <= batch["modified"])


def test_a_request_that_outlasts_the_grace_of_a_stopping_web_is_asked_to_come_again(fleet: Fleet) -> None:
    api = fleet.start_web(BROKER_GRACE_SECONDS="1")
    lines = (f"POST {ROOT} HTTP/1.1", "Host: broker", f"Authorization: Token {api.token}", "Content-Length: 9")
    head = "\r\n".join((*lines, "Content-Type: application/json", "Expect: 100-continue", "", ""))
    with socket.create_connection(("127.0.0.1", urlsplit(api.url).port or 0), timeout=SECONDS) as client:
        client.sendall(head.encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
        fleet.web.signal(signal.SIGTERM)
        answer = HTTPResponse(client)
        answer.begin()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert json.loads(answer.read()) == {"detail": Unavailable.message}
    assert fleet.web.wait() == 0


def test_a_second_signal_ends_a_worker_whose_event_loop_is_held(fleet: Fleet, nap: Nap) -> None:
    api = fleet.start_web()
    worker = fleet.start_worker()
    begin(nap, api, type="sleepy-loop")
    worker.signal(signal.SIGTERM)
    until(lambda: not pending(worker, signal.SIGTERM), "the first signal has been taken")
    worker.signal(signal.SIGINT)
    assert worker.wait() == 128 + signal.SIGINT


def test_a_worker_whose_event_loop_is_held_ends_soon_after_its_grace(fleet: Fleet, nap: Nap) -> None:
    api = fleet.start_web()
    worker = fleet.start_worker(BROKER_GRACE_SECONDS="0.1")
    begin(nap, api, type="sleepy-loop")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_stop_while_it_starts_leaves_nothing_behind(
    fleet: Fleet, number: signal.Signals
) -> None:
    fleet.provision()
    starting = fleet.commands.with_environment(SLEEPY_SETUP_SECONDS="600").start("worker")
    until(lambda: fleet.commands.temporary_files, "it has its folder for temporary files")
    starting.signal(number)
    assert starting.wait() == 0
    assert fleet.commands.temporary_files == []


def pending(running: Running, number: signal.Signals) -> bool:
    """Whether a signal has been sent that the process has not taken yet (proc(5), status)."""
    lines = Path(f"/proc/{running.pid}/status").read_text().splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


def test_ctrl_c_twice_ends_up_now_and_the_next_one_goes_on_at_once(sleepy_commands: Commands, nap: Nap) -> None:
    commands = sleepy_commands.with_environment(**PATIENT)
    first = start_up(commands)
    children = first.running.children
    id = begin(nap, first.api)
    first.running.interrupt()
    until(lambda: first.running.says('"signal": "SIGTERM"'), "the children stop")
    first.running.interrupt()
    assert ends_now(first.running)
    until(lambda: not any(child.alive for child in children), "nothing is left behind")
    nap.open_gate()
    second = start_up(commands)
    assert second.api.done(id)[0]["_status"]["code"] == 200
    assert nap.runs == [0, 0]
    assert second.running.stop() == 0


def test_ctrl_c_twice_before_up_is_ready_gives_back_what_its_worker_runs_already(
    sleepy_commands: Commands, nap: Nap
) -> None:
    commands = sleepy_commands.with_environment(**PATIENT)
    first = start_up(commands, "--workers", "1")
    id = begin(nap, first.api)
    interrupt_twice(first.running, children=2)
    assert ends_now(first.running)
    starting = commands.start("up", "--port", "0", "--data-dir", "data")
    until(lambda: web_of(starting), "its web has begun")
    web = web_of(starting)
    os.kill(web, signal.SIGSTOP)
    until(lambda: nap.runs == [0, 0], "the record has begun again")
    interrupt_twice(starting, children=1)
    assert ends_now(starting)
    with suppress(ProcessLookupError):
        os.kill(web, signal.SIGCONT)  # stopped before it was bound to its parent's end, it is still there
    assert "ready" not in starting.out.read_text()
    nap.open_gate()
    assert start_up(commands).api.done(id)[0]["_status"]["code"] == 200
    assert nap.runs == [0, 0, 0]


def interrupt_twice(up: Running, children: int) -> None:
    """The second time once so many of its processes have taken the signal that the first time brought them."""
    up.interrupt()
    until(lambda: up.err.read_text().count('"signal": "SIGTERM"') == children, "its processes have been told to stop")
    up.interrupt()


def web_of(up: Running) -> int:
    """The id of its web process; 0: there is none yet."""
    return next((child.pid for child in up.children if "broker web" in child.command), 0)


def test_a_worker_never_claims_a_type_that_it_does_not_have(commands: Commands, fleet: Fleet, nap: Nap) -> None:
    """A rolling deploy: web has the type already, a worker not yet; its other batches go on."""
    api = fleet.start_web()
    older = Fleet(commands, fleet.database_url)
    nap.open_gate()
    id = nap.submit(api, quick=0)
    older.start_worker()
    assert api.done(api.submit())[0]["_status"]["code"] == 200
    (batch,) = fleet.rows("batches", id)
    assert (batch["status"], batch["lease_seq"]) == ("CREATED", 0)
    fleet.start_worker()
    assert api.done(id)[0]["_status"]["code"] == 200
