"""Threads that nobody waits for any more: whose turn it is meanwhile, and what becomes of their files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.work.crew import Crew
from handlers.contract import Config, Facts, Record
from handlers.registry import Registry
from tests.no_items import NO_REFERENCES, lend_nothing

SLOW_TYPES = Path(__file__).parents[2] / "slow_types"
PATIENCE = 30.0

Run = Callable[..., Awaitable[Facts]]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """What deaf records wait for; none waits longer than the test."""
    gate = tmp_path / "gate"
    yield gate
    gate.touch()


@pytest.fixture
def run(notes: Path, gate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """`run("deaf")`: one record of the type `slow`, which may take for ever, on the only thread."""
    monkeypatch.syspath_prepend(str(SLOW_TYPES))
    patient = replace(Registry.installed()["slow"], time_limit=600.0)
    config = Config(notes.parent, 1, 10**8, 10**8, 10**8)
    crew = Crew(Registry({"slow": patient}), ("slow",), config, threads=1, scratch=notes.parent, lend=lend_nothing)

    async def run(act: str, **fields: Any) -> Facts:
        fields |= {"act": act, "notes": str(notes), "gate": str(gate)}
        box = crew.box("batch", Record(0, "r", b"image", fields), NO_REFERENCES)
        try:
            return await crew.call("slow", patient.endpoints["run"](), box)
        finally:
            box.close()

    yield run
    crew.close()


async def lines(notes: Path, number: int) -> list[str]:
    """The notes, once there are as many."""
    async with asyncio.timeout(PATIENCE):
        while not notes.exists() or len(notes.read_text().splitlines()) < number:
            await asyncio.sleep(0.01)
    return notes.read_text().splitlines()


async def cancelled(task: asyncio.Task[Facts]) -> None:
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_cancelled_thread_keeps_its_turn_while_it_works(run: Run, notes: Path, gate: Path) -> None:
    """Else whoever cancels often would have any number of them at work."""
    task = asyncio.ensure_future(run("deaf"))
    await lines(notes, 1)
    await cancelled(task)
    following = asyncio.ensure_future(run("tell"))
    await asyncio.sleep(0.2)
    assert len(await lines(notes, 1)) == 1
    gate.touch()
    assert (await following)["place"] == 0


async def test_record_that_is_cancelled_while_waiting_does_not_begin(run: Run, notes: Path, gate: Path) -> None:
    working = asyncio.ensure_future(run("deaf"))
    await lines(notes, 1)
    waiting = asyncio.ensure_future(run("tell"))
    await asyncio.sleep(0)
    await cancelled(waiting)
    gate.touch()
    await working
    await run("tell")
    assert len(await lines(notes, 2)) == 2


async def test_files_that_a_cancelled_thread_makes_are_removed(run: Run, notes: Path, gate: Path) -> None:
    task = asyncio.ensure_future(run("litter"))
    _, folder = await lines(notes, 2)
    await cancelled(task)
    gate.touch()
    await run("tell")
    assert not Path(folder).exists()
