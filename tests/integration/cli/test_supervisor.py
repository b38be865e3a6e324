"""The children of `broker up` on a machine that cannot always start a process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from broker.cli.supervisor import Child, Supervisor
from tests.integration.running import until

SLEEP = ("-c", "import time; time.sleep(600)")
HURRIES = """
import asyncio, os, pathlib
from broker.cli.signals import on_stop

async def main():
    hurried = asyncio.Event()
    on_stop(lambda: None, hurried.set)
    pathlib.Path(os.environ["HEARS"]).touch()
    await hurried.wait()

asyncio.run(main())
"""
"""Ends at the second signal, not at the first."""
TOO_MUCH = {"FILLER": "x" * 3_000_000}
"""More than a process can be given: the kernel refuses to start it."""


class Scene:
    """A supervised process whose environment the test changes."""

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.child = Child("sleeper", SLEEP, self.environment)
        self.supervisor = Supervisor([self.child])

    async def until(self, holds: Callable[[], bool]) -> None:
        async def answer() -> bool:
            return holds()

        await until(answer)

    def kill(self) -> int:
        assert self.child.process is not None
        self.child.process.kill()
        return self.child.process.pid


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    scene.supervisor.start()
    watching = asyncio.create_task(scene.supervisor.watch())
    yield scene
    watching.cancel()
    scene.supervisor.tell_to_stop()
    assert await scene.supervisor.stopped(10)


async def test_a_child_that_cannot_be_started_again_is_tried_until_it_can(scene: Scene) -> None:
    with capture_logs() as logs:
        scene.environment |= TOO_MUCH
        killed = scene.kill()
        await scene.until(lambda: [line["event"] for line in logs].count("up.cannot_start") == 2)
        assert not scene.child.alive
        scene.environment.clear()
        await scene.until(lambda: scene.child.alive)
    assert scene.child.process is not None
    assert scene.child.process.pid != killed
    assert [(line["event"], line["process"], line["failures"]) for line in logs] == [
        ("up.restarting", "sleeper", 1),
        ("up.cannot_start", "sleeper", 2),
        ("up.cannot_start", "sleeper", 3),
    ]
    assert logs[1]["reason"] == "Argument list too long"


async def test_a_child_that_cannot_be_started_costs_the_others_nothing(scene: Scene) -> None:
    other = Child("other", SLEEP, {})
    scene.supervisor.children.append(other)
    other.start()
    scene.environment |= TOO_MUCH
    with capture_logs() as logs:
        scene.kill()
        await scene.until(lambda: "up.cannot_start" in [line["event"] for line in logs])
        assert other.process is not None
        before = other.process.pid
        other.process.kill()
        await scene.until(lambda: other.alive and other.process is not None and other.process.pid != before)
    assert not scene.child.alive


async def test_a_child_that_takes_both_signals_at_once_ends_all_the_same(tmp_path: Path) -> None:
    """It had no turn between them, and Python takes SIGINT before SIGTERM."""
    hears = tmp_path / "hears"

    async def begun() -> bool:
        return hears.exists()

    child = Child("busy", ("-c", HURRIES), {"HEARS": str(hears)})
    supervisor = Supervisor([child])
    supervisor.start()
    try:
        await until(begun)
        assert child.process is not None
        child.process.send_signal(signal.SIGSTOP)
        supervisor.tell_to_stop()
        supervisor.hurry()
        child.process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(60):
            await supervisor.stopped(600)
    finally:
        assert child.process is not None
        child.process.kill()
        child.process.wait()
