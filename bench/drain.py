"""Queued batches that take no time, drained by one worker process, beside taskiq's and arq's: `python -m bench.drain`.

Ours are claimed from SQL and their ends are committed and flushed; the others persist nothing. Each side's queue is
filled first, then one worker process of its drains it, sides in turn, on one Valkey. A rate is what ends after the
first end, over the time from the first to the last.

The others' ends are noted behind the job. Ours are what the database's clock said within the commits that hold them,
before these were flushed: to look for ends that can be read would take time of the drain. The first and the last end
are both earlier by one commit, so the time between them is wrong by what these two differ in, either way. All batches
of the first commit are left out.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bench import servers
from bench.accept import Kind
from bench.comparison import heading, judge, line
from bench.figures import Figure
from bench.queued import End, Place, ends, queue_up, settle
from bench.rivals.ledger import JOBS, LEDGER, URL

TYPE = "nothing"
SLOTS = 200
"""Batches or jobs that each side's worker has under way at most, of ours and arq's; taskiq does best with its own."""
TARGETS = {"taskiq": 1.0, "arq": 1.3}
"""Least times of the other's rate."""
LATE_SECONDS = 0.3
"""What a job that runs twice may be late with the second time."""
RIVAL_SECONDS = 60.0


@dataclass(frozen=True)
class Rival:
    """How its queue is filled, and its worker run."""

    fill: Sequence[str]
    work: Sequence[str]


def _module(name: str, *arguments: str) -> Sequence[str]:
    return (sys.executable, "-m", name, *arguments)


RIVALS = {
    "taskiq": Rival(
        fill=_module("bench.rivals.taskiq_jobs"),
        work=_module("taskiq", *"worker --workers 1 --log-level WARNING bench.rivals.taskiq_jobs:broker".split()),
    ),
    "arq": Rival(
        fill=_module("bench.rivals.arq_jobs", "fill"),
        work=_module("bench.rivals.arq_jobs", "work"),
    ),
}


@dataclass(frozen=True)
class Round:
    """Ends a second."""

    ours: float
    rivals: dict[str, float]


def figures() -> list[Figure]:
    """Both databases, against the table's targets."""
    return [figure for kind in Kind for figure in _figures(kind)]


def _figures(kind: Kind) -> Iterator[Figure]:
    rounds = list(_rounds(kind, 4000, 3))
    for name, target in TARGETS.items():
        yield Figure(f"drain on {kind}, one worker process: over {name}", line("", _pairs(rounds, name))[1], target)


def main(
    batches: Annotated[int, typer.Option(min=100, help="Queued before each worker starts.")] = 10_000,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    database: Annotated[Kind, typer.Option(help="Ours.")] = Kind.SQLITE,
) -> None:
    """Measure the drains and print the table."""
    found = list(_rounds(database, batches, rounds))
    print(f"drain: {database}, {os.cpu_count()} cores, {rounds} x {batches} batches; each ran once")
    for name, target in TARGETS.items():
        print(heading(name, "ours"))
        text, ratio = line("ends/s", _pairs(found, name))
        print(f"{text}  at least {target:.2f}  {judge(ratio >= target)}")


def _pairs(rounds: Sequence[Round], name: str) -> list[tuple[float, float]]:
    return [(one.rivals[name], one.ours) for one in rounds]


def _rounds(kind: Kind, batches: int, rounds: int) -> Iterator[Round]:
    with place_of(kind) as place:
        for number in range(1, rounds + 1):
            rivals = {name: _rival(place, rival, batches) for name, rival in RIVALS.items()}
            one = Round(asyncio.run(_ours(place, batches)), rivals)
            others = ", ".join(f"{name} {rate:.0f}" for name, rate in rivals.items())
            print(f"round {number}: ours {one.ours:.0f}, {others} a second", file=sys.stderr)
            yield one


@contextmanager
def place_of(kind: Kind) -> Iterator[Place]:
    """A new installation on a disk."""
    with ExitStack() as stack:
        folder, _ = stack.enter_context(servers.folder_on_disk())
        url = stack.enter_context(servers.postgresql(folder / "postgresql")) if kind is Kind.POSTGRESQL else ""
        environment, valkey = stack.enter_context(servers.installation(folder / "data", url))
        yield Place(environment, folder / "data", url, valkey.url)


async def _ours(place: Place, batches: int) -> float:
    ids = await queue_up(place, TYPE, batches)
    with servers.worker(place.environment, BROKER_WORKER_BATCHES=str(SLOTS)):
        await settle(place)
    return rate(await ends(place, ids))


def rate(found: Sequence[End]) -> float:
    """Ends a second after the first one."""
    first, last = min(end.finished for end in found), max(end.finished for end in found)
    return sum(end.finished > first for end in found) * 1000 / (last - first)


def _rival(place: Place, rival: Rival, jobs: int) -> float:
    """Raises RuntimeError unless each job ran once."""
    ledger = place.data_dir / "ledger.json"
    ledger.unlink(missing_ok=True)
    environment = {**place.environment, URL: place.redis_url, JOBS: str(jobs), LEDGER: str(ledger)}
    subprocess.run(rival.fill, env=environment, check=True)
    with servers.running(rival.work, environment):
        _wait_for(ledger)
    books = json.loads(ledger.read_text())
    if books["runs"] != jobs:
        raise RuntimeError(f"of {jobs} jobs {books['runs']} ran")
    return float((jobs - 1) / (books["last"] - books["first"]))


def _wait_for(ledger: Path) -> None:
    end = time.monotonic() + RIVAL_SECONDS
    while not ledger.exists():
        if time.monotonic() > end:
            raise TimeoutError("a rival does not end")
        time.sleep(0.05)
    time.sleep(LATE_SECONDS)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
