"""From POST to signed webhook, beside what users would write themselves, in one run: `python -m bench.end_to_end`.

Batches that take no time go through `broker web` and one `broker worker`, and through `bench.diy`, which does as much:
FastAPI, one flushed commit a request, arq that looks every 5 ms, one httpx client. Rounds alternate between the two.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Annotated

import typer

from bench import servers
from bench.circuit import NUMBER, PORT, Course, Plan, go
from bench.comparison import heading, judge, line
from bench.figures import Figure

RATE_TARGET = 5.0
"""Least times of the other's completed webhooks a second."""
P50_TARGET = 0.6
"""Most of the other's time from POST to webhook, at PER_SECOND batches."""
PER_SECOND = 20.0
AT_ONCE = 256
"""Batches between POST and webhook under full load: enough that nobody has nothing to do, and no queue grows."""
SETTINGS = {"BROKER_ALLOW_NETWORKS": "127.0.0.1/32", "BROKER_WORKER_BATCHES": "200"}
"""For batches that take no time a worker gets more than eight at once, as the other's gets more than ten."""
BODY = json.dumps(
    {
        "type": "nothing",
        "records": [{"_base64": "AA==", "n": NUMBER}],
        "webhook": {"endpoint": f"http://127.0.0.1:{PORT}/hook", "headers": {"optional_field": "optional_value"}},
    }
)


@dataclass(frozen=True)
class Side:
    """One of the two: where it is asked, and what it signs with."""

    port: int
    path: str
    token: str
    secret: str

    def plan(self, seconds: float, *, per_second: float = 0.0, at_once: int = 0) -> Plan:
        return Plan(self.port, self.path, self.token, BODY, seconds, per_second, at_once=at_once, secret=self.secret)


@dataclass(frozen=True)
class Measured:
    """per_second: webhooks under full load. p50_ms, p99_ms: from POST sent to webhook received, at PER_SECOND.

    batches: each of them brought one webhook, with a signature. verified: signatures.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    batches: int
    verified: int


@dataclass(frozen=True)
class Round:
    """Both, one after the other."""

    diy: Measured
    ours: Measured


def figures() -> list[Figure]:
    """Against the table's targets."""
    rounds = _run(3.0, 3)
    rate, p50 = _pairs(rounds)
    return [
        Figure("end to end: webhooks/s over do-it-yourself", line("", rate)[1], RATE_TARGET),
        Figure("end to end: p50 at 20 batches/s over do-it-yourself", line("", p50)[1], P50_TARGET, most=True),
    ]


def main(
    seconds: Annotated[float, typer.Option(min=1, help="Of each of a round's four measurements.")] = 4.0,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    at_once: Annotated[int, typer.Option(min=1, help="Batches under way under full load.")] = AT_ONCE,
) -> None:
    """Measure and print the table."""
    found = _run(seconds, rounds, at_once)
    print(f"end to end: {os.cpu_count()} cores, {at_once} batches at once, {rounds} x {seconds:g} s")
    print(*_table(found), sep="\n")


def _run(seconds: float, rounds: int, at_once: int = AT_ONCE) -> list[Round]:
    """After a round to warm up."""
    with _both() as (diy, ours):
        return [_round(diy, ours, seconds if number else 1.0, at_once, number) for number in range(rounds + 1)][1:]


@contextmanager
def _both() -> Iterator[tuple[servers.DoItYourself, Side]]:
    with ExitStack() as stack:
        folder, _ = stack.enter_context(servers.folder_on_disk())
        diy = stack.enter_context(servers.do_it_yourself(folder / "diy"))
        fleet = servers.fleet(folder / "data", "", SETTINGS)
        url, token, _ = stack.enter_context(fleet)
        port, secret = int(url.rpartition(":")[2]), servers.webhook_secret(url, token)
        yield diy, Side(port, "/account/v2/request", token, secret)


def _round(diy: servers.DoItYourself, ours: Side, seconds: float, at_once: int, number: int) -> Round:
    theirs = _measure(Side(diy.port, "/batches", diy.token, diy.secret), seconds, at_once)
    with diy.stopped():
        one = Round(theirs, _measure(ours, seconds, at_once))
    name = f"round {number}" if number else "warm-up"
    print(
        f"{name}: {one.diy.per_second:.0f} and {one.ours.per_second:.0f} webhooks/s, "
        f"p50 {one.diy.p50_ms:.1f} and {one.ours.p50_ms:.1f} ms, p99 {one.diy.p99_ms:.1f} and {one.ours.p99_ms:.1f} ms",
        file=sys.stderr,
    )
    return one


def _measure(side: Side, seconds: float, at_once: int) -> Measured:
    """Every batch that was accepted has brought one signed webhook."""
    full, steady = go(side.plan(seconds, at_once=at_once)), go(side.plan(seconds, per_second=PER_SECOND))
    times = sorted((steady.arrived[id] - sent) / 1e6 for id, sent in steady.sent.items())
    return Measured(
        per_second=_per_second(full, seconds),
        p50_ms=median(times),
        p99_ms=times[len(times) * 99 // 100],
        batches=len(full.sent) + len(steady.sent),
        verified=full.verified + steady.verified,
    )


def _per_second(course: Course, seconds: float) -> float:
    """Of the time's second half: by then as much comes back as goes in."""
    begin = course.end - int(seconds / 2 * 1e9)
    return sum(begin <= when < course.end for when in course.arrived.values()) / (seconds / 2)


def _pairs(rounds: Sequence[Round]) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Webhooks/s and p50, of both."""
    rate = [(one.diy.per_second, one.ours.per_second) for one in rounds]
    return rate, [(one.diy.p50_ms, one.ours.p50_ms) for one in rounds]


def _table(rounds: Sequence[Round]) -> Iterator[str]:
    yield heading("diy", "ours")
    rates, p50s = _pairs(rounds)
    rate, rate_ratio = line("webhooks/s", rates)
    p50, p50_ratio = line("p50 ms", p50s)
    p99, _ = line("p99 ms", [(one.diy.p99_ms, one.ours.p99_ms) for one in rounds])
    yield f"{rate}  at least {RATE_TARGET:.2f}  {judge(rate_ratio >= RATE_TARGET)}"
    yield f"{p50}  at most {P50_TARGET:.2f}   {judge(p50_ratio <= P50_TARGET)}"
    yield p99
    sides = [side for one in rounds for side in (one.diy, one.ours)]
    batches, verified = sum(side.batches for side in sides), sum(side.verified for side in sides)
    yield f"batches {batches}, each with one webhook that has a signature, of which {verified} were verified"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
