"""Isolated handlers: in a process of their own, which is killed at the time limit and may die without harm."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.work.child import HandlerCrashed
from broker.work.crew import Crew
from handlers.contract import Config, Facts, Output, Record, RecordError, RetryableError
from handlers.registry import Registry
from tests.acceptance.processes import running_processes
from tests.integration.running import until
from tests.no_items import NO_REFERENCES, lend_nothing

SLOW_TYPES = Path(__file__).parents[2] / "slow_types"
TYPE = "slow-isolated"


def is_alive(pid: int) -> bool:
    return any(seen.pid == pid for seen in running_processes())


def my_children() -> list[int]:
    """Processes of isolated types that this test run has started and that run."""
    return [
        seen.pid
        for seen in running_processes()
        if seen.parent == os.getpid() and "broker.work.isolated" in seen.command
    ]


async def eventually(holds: Callable[[], object]) -> None:
    async def answer() -> bool:
        return bool(holds())

    await until(answer)


class Bench:
    """A crew of isolated types, and records for it."""

    def __init__(self, folder: Path, threads: int = 1, types: tuple[str, ...] = (TYPE,)) -> None:
        config = Config(folder, 1, 10**8, 10**8, 10**8)
        self.notes = folder / "notes"
        self.gate = folder / "gate"
        self.crew = Crew(Registry.installed(), types, config, threads=threads, scratch=folder, lend=lend_nothing)

    async def run(self, act: str, type: str = TYPE, image: bytes = b"image", **fields: Any) -> Facts:
        """The facts of one record, whose files are gone when this returns."""
        fields |= {"act": act, "notes": str(self.notes), "gate": str(self.gate)}
        box = self.crew.box("batch", Record(3, "r", image, fields), NO_REFERENCES)
        try:
            facts = await self.crew.call(type, self.crew.specs[type].endpoints["run"](), box)
            return {name: read(value) for name, value in facts.items()}
        finally:
            box.close()

    @property
    def noted(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []


def read(value: Any) -> Any:
    if isinstance(value, Output):
        return value.data.read_bytes() if isinstance(value.data, Path) else value.data
    return value


@pytest.fixture(autouse=True)
def _slow_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SLOW_TYPES))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = await asyncio.to_thread(Bench, tmp_path)
    yield bench
    bench.crew.close()
    bench.gate.touch()
    assert my_children() == []


async def test_handler_runs_in_another_process_which_is_set_up_once(bench: Bench) -> None:
    first, second = [await bench.run("tell", image=bytes(1000)) for _ in range(2)]
    assert first == {"word": None, "size": 1000, "place": 3, "pid": first["pid"], "setups": 1, "cancelled": False}
    assert second == first
    assert my_children() == [first["pid"]]


@pytest.mark.parametrize("type", ["slow", TYPE])
async def test_what_a_handler_says_of_its_progress_is_in_the_log(tmp_path: Path, type: str) -> None:
    bench = await asyncio.to_thread(Bench, tmp_path, types=(type,))
    with capture_logs() as logs:
        await bench.run("tell", type)
    bench.crew.close()
    told = [line["fraction"] for line in logs if line["event"] == "record.progress"]
    assert told == [percent / 100 for percent in range(101)]
    assert {(line["log_level"], line["batch"], line["record"]) for line in logs} == {("debug", "batch", "r")}


async def test_process_is_killed_at_the_time_limit_and_replaced(bench: Bench) -> None:
    with pytest.raises(RecordError) as refusal:
        await bench.run("deaf")
    assert (refusal.value.code, refusal.value.text) == (504, "the record took longer than 2 s")
    (pid,) = bench.noted
    await eventually(lambda: not is_alive(int(pid)))
    facts = await bench.run("tell")
    assert facts["pid"] != int(pid)
    assert my_children() == [facts["pid"]]
    assert not bench.crew.recycling


async def test_what_the_handler_started_is_killed_with_it(bench: Bench) -> None:
    with pytest.raises(RecordError):
        await bench.run("spawn")
    own, program = bench.noted
    await eventually(lambda: not is_alive(int(own)) and not is_alive(int(program)))


async def test_files_of_a_killed_process_are_removed(bench: Bench) -> None:
    with pytest.raises(RecordError):
        await bench.run("litter")
    await eventually(lambda: not Path(bench.noted[1]).exists())


@pytest.mark.parametrize(
    ("act", "cause"),
    [("leave", "exit status 0"), ("fall", "signal 11")],
)
async def test_process_that_dies_by_itself_may_be_tried_again(bench: Bench, act: str, cause: str) -> None:
    with pytest.raises(RetryableError, match=f"the process of slow-isolated died: {cause}"):
        await bench.run(act)
    assert (await bench.run("tell"))["setups"] == 1


async def test_idle_process_that_died_is_replaced(bench: Bench) -> None:
    (pid,) = my_children()
    os.kill(pid, 9)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # all of it: its main thread ends before the others
    assert (await bench.run("tell"))["pid"] != pid


@pytest.mark.parametrize(("act", "kind"), [("starve", "MemoryError"), ("later", "not yet")])
async def test_error_that_may_pass_stays_one(bench: Bench, act: str, kind: str) -> None:
    with pytest.raises(RetryableError, match=kind):
        await bench.run(act)
    assert (await bench.run("later"))["late"] is True


async def test_refusal_stays_one(bench: Bench) -> None:
    with pytest.raises(RecordError) as refusal:
        await bench.run("refuse")
    assert (refusal.value.code, refusal.value.text) == (422, "too slow")


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("crash", "ValueError: a secret of the handler"),
        ("exit_python", "SystemExit: 3"),
        ("unpicklable", "cannot pickle"),
        ("inside", "an isolated handler cannot run others"),
    ],
)
async def test_any_other_error_comes_with_its_traceback_and_costs_no_process(bench: Bench, act: str, said: str) -> None:
    before = my_children()
    with pytest.raises(HandlerCrashed, match=said):
        await bench.run(act)
    assert (await bench.run("tell"))["pid"] in before


async def test_large_output_arrives_whole(bench: Bench) -> None:
    facts = await bench.run("big")
    assert len(facts["_url"]) == 20_000_000
    assert hashlib.sha256(facts["_url"]).hexdigest() == facts["sha256"]


async def test_output_in_a_file_arrives_and_its_folder_is_removed(bench: Bench) -> None:
    facts = await bench.run("files")
    assert facts["_url"] == b"from a file"
    assert Path(facts["scratch"]).parent == bench.notes.parent
    assert not Path(facts["scratch"]).exists()


async def test_cancellation_reaches_the_handler_and_spares_its_process(bench: Bench) -> None:
    task = asyncio.create_task(bench.run("heed"))
    await eventually(lambda: bench.noted)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: len(bench.noted) == 2)
    pid, said = bench.noted
    assert said == "cancelled"
    facts = await bench.run("tell")
    assert (facts["pid"], facts["cancelled"]) == (int(pid), False)


async def test_process_that_does_not_heed_its_cancellation_is_killed(bench: Bench) -> None:
    task = asyncio.create_task(bench.run("deaf"))
    await eventually(lambda: bench.noted)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: not is_alive(int(bench.noted[0])))
    assert not bench.crew.recycling


async def test_process_is_killed_when_the_time_of_the_handler_around_it_is_over(tmp_path: Path) -> None:
    bench = await asyncio.to_thread(Bench, tmp_path, 1, ("slow-outer", "slow-patient"))
    try:
        with pytest.raises(RecordError) as refusal:
            await bench.run("deaf", "slow-outer", inner="slow-patient")
        assert refusal.value.code == 504
        await eventually(lambda: my_children() == [])
    finally:
        bench.crew.close()


async def test_signals_to_all_processes_of_a_worker_do_not_end_a_record(bench: Bench) -> None:
    assert await bench.run("signalled") == {"alive": True}


async def test_all_records_together_are_told_to_the_process(bench: Bench) -> None:
    assert await bench.crew.combine(TYPE, "batch", [{}, {}]) == {"pid": my_children()[0], "records": 2}


async def test_there_are_never_more_processes_than_threads(tmp_path: Path) -> None:
    """Two types, each with work enough for two processes, where there may be two in all."""
    bench = await asyncio.to_thread(Bench, tmp_path, 2, (TYPE, "slow-other"))
    counts: list[int] = []

    async def work(type: str) -> Facts:
        facts = await bench.run("sleep", type, seconds=0.1)
        counts.append(len(my_children()))
        return facts

    try:
        done = await asyncio.gather(*(work(type) for type in (TYPE, "slow-other") * 4))
    finally:
        bench.crew.close()
    assert done == [{"slept": True}] * 8
    assert max(counts) <= 2
    assert my_children() == []


async def test_type_that_cannot_be_set_up_keeps_the_worker_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = "from dataclasses import replace\nfrom slow_types import ISOLATED\n"
    spec += "SPEC = replace(ISOLATED, type='slow-broken', handler='no_such_module:Slow')\n"
    (tmp_path / "broken_type.py").write_text(spec)
    package = tmp_path / "broken_type-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-type\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[broker.handlers]\nslow-broken = broken_type:SPEC\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(HandlerCrashed, match="no_such_module"):
        await asyncio.to_thread(Bench, tmp_path, 1, (TYPE, "slow-broken"))
    assert my_children() == []


async def test_closing_ends_what_runs(bench: Bench) -> None:
    task = asyncio.create_task(bench.run("deaf"))
    await eventually(lambda: bench.noted)
    bench.crew.close()
    assert my_children() == []
    with pytest.raises(RetryableError):
        await task
