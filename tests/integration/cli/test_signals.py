"""The first signal stops a process in good order, a second one now; which signal counts as a second one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from signal import SIGINT, SIGTERM
from typing import TypeAlias

import pytest

SAME_SECONDS = 2.0
PROGRAM = """
import asyncio
from broker import logs
from broker.cli.processes import run
from broker.cli.signals import on_stop

async def main():
    hurried = asyncio.Event()
    def hurry():
        print("hurry", flush=True)
        hurried.set()
    on_stop(lambda: print("stop", flush=True), hurry)
    print("ready", flush=True)
    await hurried.wait()

logs.configure("json", "info")
run(main())
"""
Process: TypeAlias = "subprocess.Popen[str]"


@pytest.fixture
def start() -> Iterator[Callable[[], Process]]:
    """Start a process that says what signals make it do, and ends when it is to hurry."""
    started: list[Process] = []

    def start() -> Process:
        command = [sys.executable, "-c", PROGRAM]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        started.append(process)
        assert said(process) == "ready"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process: Process) -> str:
    """The next line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_sigterm_soon_after_the_first_signal_is_the_same_one_and_a_later_one_the_second(
    start: Callable[[], Process],
) -> None:
    """Service managers signal a child besides its parent, which passes the signal on."""
    processes = [start(), start()]
    for process, first in zip(processes, (SIGTERM, SIGINT), strict=True):
        process.send_signal(first)
        assert said(process) == "stop"
        process.send_signal(SIGTERM)
    time.sleep(SAME_SECONDS + 0.1)  # what was taken for the first one by now is so for good
    assert [process.poll() for process in processes] == [None, None]
    for process in processes:
        process.send_signal(SIGTERM)
        assert process.communicate(timeout=30)[0] == "hurry\n"
        assert process.returncode == 0


@pytest.mark.parametrize("first", [SIGTERM, SIGINT])
def test_sigint_after_the_first_signal_is_the_second_however_soon(start: Callable[[], Process], first: int) -> None:
    process = start()
    process.send_signal(first)
    assert said(process) == "stop"
    process.send_signal(SIGINT)
    assert process.communicate(timeout=30)[0] == "hurry\n"
    assert process.returncode == 0
