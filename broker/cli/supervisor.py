"""Keeping child processes alive: started again when they end by themselves, stopped together in good order."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from broker.cli.processes import RECYCLED
from broker.tether import tethered

LOOK_SECONDS = 0.2
CALM_SECONDS = 10.0
MAX_PAUSE = 10.0
HURRY_PAUSE = 0.5
"""Seconds after which those that shall end now are told again. A process that has not taken SIGTERM yet takes SIGINT
before it, so that it is the first signal to it, and SIGTERM behind it counts as the same one."""
_IN_GOOD_ORDER = (0, RECYCLED, -signal.SIGTERM)
"""The last: SIGTERM came while Python was still starting."""

log = structlog.get_logger()


@dataclass(slots=True)
class Child:
    """One process of `broker up`: its command, what it inherits, and how often it has failed lately."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    descriptors: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    failures: int = 0
    started: float = 0.0
    start_at: float = 0.0

    def start(self) -> None:
        """Start it outside the terminal's process group, so that Ctrl-C reaches it only through us.

        It dies with us where the kernel can do that, so nothing is left behind by a kill.
        """
        command = tethered(sys.executable, *self.arguments)
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **self.environment},
            pass_fds=self.descriptors,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def failed(self) -> bool:
        status = None if self.process is None else self.process.poll()
        return status is not None and status > 0 and status != RECYCLED


@dataclass(slots=True)
class Supervisor:
    """The children of one `broker up`."""

    children: list[Child]
    _told: dict[str, subprocess.Popen[bytes]] | None = None
    _hurry_at: float = math.inf

    def start(self) -> None:
        for child in self.children:
            child.start()

    async def watch(self) -> None:
        """Look until cancelled or all are told to stop."""
        while self._told is None:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Start again what has ended by itself, later each time, unless all are told to stop."""
        if self._told is None:
            for child in self.children:
                self._look_after(child)

    def failed(self) -> Child | None:
        """A child that has just ended with an error. Who was killed by a signal or recycled is only to start again."""
        return next((child for child in self.children if child.failed), None)

    def tell_to_stop(self) -> None:
        """SIGTERM to all, once: another one would be the second signal to them."""
        if self._told is None:
            self._told = {child.name: child.process for child in self.children if child.process and child.alive}
            for process in self._told.values():
                process.send_signal(signal.SIGTERM)

    async def stopped(self, seconds: float) -> bool:
        """Wait for who was told to stop, with SIGKILL to who is not done in time. Whether all ended in good order."""
        running = self._told or {}
        end = time.monotonic() + seconds
        while any(process.poll() is None for process in running.values()) and time.monotonic() < end:
            if time.monotonic() >= self._hurry_at:
                self.hurry()
            await asyncio.sleep(0.02)
        for name, process in running.items():
            if process.poll() is None:
                log.warning("up.killed", process=name)
                process.kill()
                process.wait()
        return all(process.returncode in _IN_GOOD_ORDER for process in running.values())

    def hurry(self) -> None:
        """Have those that are stopping end now: to them this is a second signal, or the next one will be."""
        self._hurry_at = time.monotonic() + HURRY_PAUSE
        for child in self.children:
            if child.process is not None and child.alive:
                child.process.send_signal(signal.SIGINT)

    def _look_after(self, child: Child) -> None:
        now = time.monotonic()
        if child.alive:
            if now - child.started > CALM_SECONDS:
                child.failures = 0
            return
        if child.process is not None:
            self._note_end(child, child.process.returncode, now)
            child.process = None
        if now >= child.start_at:
            self._start_again(child, now)

    def _start_again(self, child: Child, now: float) -> None:
        """A machine that cannot start a process now may be able to later."""
        try:
            child.start()
        except OSError as error:
            child.failures += 1
            child.start_at = now + min(MAX_PAUSE, 0.1 * 2**child.failures)
            log.error("up.cannot_start", process=child.name, reason=error.strerror, failures=child.failures)

    def _note_end(self, child: Child, status: int, now: float) -> None:
        if status == RECYCLED:
            log.warning("up.restarting", process=child.name, reason="recycled")
            return
        child.failures += 1
        child.start_at = now + min(MAX_PAUSE, 0.1 * 2**child.failures)
        log.error("up.restarting", process=child.name, status=status, failures=child.failures)
