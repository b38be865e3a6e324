"""Queued batches whose handler burns 20 ms of CPU, drained by one worker process and by two: `python -m bench.scaling`.

Each process has one thread for handlers, so that the number of processes is the number of CPUs. Rounds alternate; the
ratio is the median over rounds. Every batch must run once. Two things tell that nobody starves: the part of the batches
that the lesser of two workers ran, in fair parts, and how many younger batches ended before a batch, in turns of all
slots of all workers. Batches that are claimed together may overtake each other; one that had to wait for the others
would be overtaken by far more.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

import typer

from bench import servers
from bench.accept import Kind
from bench.comparison import heading, judge, line
from bench.drain import place_of, rate
from bench.figures import Figure
from bench.queued import End, Place, ends, queue_up, settle

TYPE = "busy"
SLOTS = 8
TARGET = 1.6
"""Least times of one worker's rate."""
FAIR = 0.8
"""Least part that a worker ran, of what would be fair."""
LATE = 2.0
"""Most turns of all slots by which younger batches may overtake one."""
WORKERS = (1, 2)


@dataclass(frozen=True)
class Drain:
    """per_second: ends. part: of the worker that ran least, in fair parts. overtaken: of the batch that was most."""

    per_second: float
    part: float
    overtaken: float


def figures() -> list[Figure]:
    """On SQLite, against the table's targets."""
    rounds = list(_rounds(Kind.SQLITE, 200, 3))
    return [
        Figure("CPU-bound drain: two worker processes over one", line("", _rates(rounds))[1], TARGET),
        Figure("CPU-bound drain: the lesser worker's part", min(two.part for _, two in rounds), FAIR),
        Figure("CPU-bound drain: overtaken, turns", max(two.overtaken for _, two in rounds), LATE, most=True),
    ]


def main(
    batches: Annotated[int, typer.Option(min=20, help="Queued before the workers start.")] = 300,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    database: Annotated[Kind, typer.Option()] = Kind.SQLITE,
) -> None:
    """Measure both drains and print the table."""
    found = list(_rounds(database, batches, rounds))
    text, ratio = line("ends/s", _rates(found))
    part, overtaken = min(two.part for _, two in found), max(two.overtaken for _, two in found)
    print(f"scaling: {database}, {os.cpu_count()} cores, {rounds} x {batches} batches of 20 ms; each ran once")
    print(heading("1 worker", "2 workers"))
    print(f"{text}  at least {TARGET:.2f}  {judge(ratio >= TARGET)}")
    print(f"the lesser worker ran {part:.2f} of a fair part, at least {FAIR:.2f}: {judge(part >= FAIR)}")
    print(f"overtaken by {overtaken:.2f} turns at most, at most {LATE:.2f}: {judge(overtaken <= LATE)}")


def _rates(rounds: Sequence[tuple[Drain, Drain]]) -> list[tuple[float, float]]:
    return [(one.per_second, two.per_second) for one, two in rounds]


def _rounds(kind: Kind, batches: int, rounds: int) -> Iterator[tuple[Drain, Drain]]:
    with place_of(kind) as place:
        for number in range(1, rounds + 1):
            one, two = (asyncio.run(_drain(place, batches, workers)) for workers in WORKERS)
            print(f"round {number}: {one.per_second:.1f} and {two.per_second:.1f} ends/s", file=sys.stderr)
            yield one, two


async def _drain(place: Place, batches: int, workers: int) -> Drain:
    ids = await queue_up(place, TYPE, batches)
    settings = {"BROKER_WORKER_BATCHES": str(SLOTS), "BROKER_WORKER_THREADS": "1"}
    with ExitStack() as stack:
        for _ in range(workers):
            stack.enter_context(servers.worker(place.environment, **settings))
        await settle(place)
    found = await ends(place, ids)
    return Drain(rate(_together(found, workers)), least_part(found, workers), overtaken(found) / (SLOTS * workers))


def _together(found: Sequence[End], workers: int) -> list[End]:
    """What ended while all workers were there: one may have started before another."""
    first: dict[int, int] = {}
    for end in found:
        worker = _worker(end)
        first[worker] = min(first.get(worker, end.finished), end.finished)
    if len(first) < workers:
        raise RuntimeError(f"{workers - len(first)} of {workers} workers ran nothing")
    return [end for end in found if end.finished >= max(first.values())]


def least_part(found: Sequence[End], workers: int) -> float:
    """Of the worker that ran least while all were there: its batches, over what would be fair."""
    together = _together(found, workers)
    return min(Counter(map(_worker, together)).values()) * workers / len(together)


def _worker(end: End) -> int:
    """The process that ran it."""
    return int(json.loads(end.facts)["process"])


def overtaken(found: Sequence[End]) -> int:
    """How many younger batches ended before a batch, at most. found: the oldest first."""
    younger: list[int] = []
    most = 0
    for end in reversed(found):
        most = max(most, bisect_right(younger, end.finished - 1))
        insort(younger, end.finished)
    return most


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
