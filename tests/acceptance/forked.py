"""Processes forked by the program in `warm.py`, for those who start many: each costs a fifth of a cold start."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

WARM = Path(__file__).with_name("warm.py")
LOOK_SECONDS = 0.02


class Forked:
    """What the tests use of `subprocess.Popen`, of a process that this one is not the parent of."""

    def __init__(self, status: int) -> None:
        self._told = os.fdopen(status, "rb", buffering=0)
        self.pid = int(self._told.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.returncode = int(self._told.readline())
            self._told.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while (ended := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("broker", timeout or 0)
            select.select([self._told], [], [], LOOK_SECONDS)
        return ended

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def fork(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], streams: tuple[int, int, int]
) -> Forked:
    """A `broker` command in a process and a session of its own; streams: its input, output and errors."""
    ours, theirs = os.pipe()
    told = {"folder": str(folder), "environment": dict(environment), "arguments": list(arguments)}
    try:
        socket.send_fds(_warm(), [json.dumps(told).encode()], [*streams, theirs])
    finally:
        os.close(theirs)
    return Forked(ours)


@cache
def _warm() -> socket.socket:
    """The program's socket. The program ends with this process, which alone holds it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, str(WARM), str(theirs.fileno())]
        process = subprocess.Popen(
            command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, start_new_session=True
        )
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours
