"""How soon a worker begins what was accepted, and what waiting costs: `python -m bench.pickup`.

A steady load goes through `broker web` and one `broker worker` with an embedded Valkey. The client notes when a POST is
answered, the handler when it is called, by the same clock. Then nothing is sent, and the CPU time of the three counts.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Annotated

import psutil
import typer

from bench import servers
from bench.circuit import NUMBER, Plan, go
from bench.figures import Figure

P50_TARGET, P99_TARGET = 3.0, 15.0
"""Most ms from the answer to the handler's begin."""
IDLE_TARGET = 2.0
"""Most percent of a core, of web, worker and Valkey together."""
PER_SECOND = 20.0
SETTLE_SECONDS, REST_SECONDS = 30.0, 3.0
BODY = json.dumps({"type": "noted", "records": [{"_base64": "AA==", "n": NUMBER}]})


@dataclass(frozen=True)
class Measured:
    """p50_ms, p99_ms: from the answer to the handler. Below zero where the handler was first. idle: percent."""

    p50_ms: float
    p99_ms: float
    batches: int
    idle: float

    def figures(self) -> list[Figure]:
        """Against the table's targets."""
        return [
            Figure("pickup at 20 batches/s: p50, ms", self.p50_ms, P50_TARGET, most=True),
            Figure("pickup at 20 batches/s: p99, ms", self.p99_ms, P99_TARGET, most=True),
            Figure("idle: CPU of web, worker and Valkey, % of a core", self.idle, IDLE_TARGET, most=True),
        ]


def figures() -> list[Figure]:
    """Against the table's targets."""
    return _run(15.0, 10.0).figures()


def main(
    seconds: Annotated[float, typer.Option(min=5, help="Of the load.")] = 30.0,
    idle: Annotated[float, typer.Option(min=1, help="Seconds of nothing to do.")] = 10.0,
) -> None:
    """Measure and print the table."""
    measured = _run(seconds, idle)
    print(f"pickup: {os.cpu_count()} cores, {PER_SECOND:g} batches/s for {seconds:g} s, then idle for {idle:g} s")
    print(*_table(measured), sep="\n")


def _run(seconds: float, idle: float) -> Measured:
    """After a while to warm up."""
    with servers.folder_on_disk() as (folder, _):
        starts = folder / "starts"
        starts.touch()
        with servers.fleet(folder / "data", "", {"BENCH_STARTS": str(starts)}) as (url, token, _):
            plan = Plan(int(url.rpartition(":")[2]), "/account/v2/request", token, BODY, 2.0, PER_SECOND)
            _begun(starts, len(go(plan).answered))
            starts.write_text("")
            course = go(plan.lasting(seconds))
            begun = _begun(starts, len(course.answered))
            waits = [(begun[course.numbers[id]] - answered) / 1e6 for id, answered in course.answered.items()]
            percentiles = quantiles(waits, n=100, method="inclusive")
            return Measured(percentiles[49], percentiles[98], len(waits), _idle(idle))


def _begun(path: Path, expected: int) -> Mapping[int, int]:
    """A POST's number -> when its handler was called. Raises RuntimeError unless each was, once."""
    end = time.monotonic() + SETTLE_SECONDS
    while len(lines := path.read_text().splitlines()) < expected and time.monotonic() < end:
        time.sleep(0.1)
    begun = {int(number): int(when) for number, when in (line.split() for line in lines)}
    if not len(begun) == len(lines) == expected:
        raise RuntimeError(f"of {expected} batches {len(begun)} were run, in {len(lines)} runs")
    return begun


def _idle(seconds: float) -> float:
    """Percent of a core that all processes which this one started use while nothing is sent."""
    time.sleep(REST_SECONDS)
    processes = psutil.Process().children(recursive=True)
    before = _cpu(processes)
    time.sleep(seconds)
    return 100 * (_cpu(processes) - before) / seconds


def _cpu(processes: list[psutil.Process]) -> float:
    return float(sum(times.user + times.system for times in (process.cpu_times() for process in processes)))


def _table(measured: Measured) -> Iterator[str]:
    for figure in measured.figures():
        yield f"{figure.what:52}{figure.measured:8.2f}  {figure.bound}  {figure.verdict}"
    yield f"batches {measured.batches}, each run once"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
