"""Accepted POST/s of the whole path beside those of a bare endpoint, in one run: `python -m bench.accept`.

The whole path is `broker web` as users run it: token, validation, flushed commit, nudge. Rounds alternate between the
two servers, and the ratios are medians over rounds, so that a busy or a fast machine changes them little.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench import servers
from bench.comparison import heading, judge, line
from bench.figures import Figure
from bench.load import Sample, measure


class Kind(StrEnum):
    """Where the batches go."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


TARGETS = {Kind.SQLITE: 0.40, Kind.POSTGRESQL: 0.25}
"""Least part of the bare endpoint's POST/s."""
P99_TARGET = 4.0
"""Most times of the bare endpoint's p99."""
BODY = (
    b'{"type":"upscaler","endpoint":"upscale_2x",'
    b'"records":[{"_url":"https://images.ximilar.com/examples/fashion_products/01_1149810256_SI_00.jpeg"}],'
    b'"webhook":{"endpoint":"https://example.com/webhooks/ximilar","headers":{"optional_field":"optional_value"}}}'
)
"""The example of the page that describes the API."""


@dataclass(frozen=True)
class Round:
    """Both servers, one after the other."""

    bare: Sample
    full: Sample


@dataclass(frozen=True)
class Run:
    """Rounds on one database, the warm-up first, and the rows that it holds at the end."""

    database: str
    filesystem: str
    rounds: Sequence[Round]
    rows: int


def figures() -> list[Figure]:
    """Both databases, against the table's targets."""
    found = []
    for kind, target in TARGETS.items():
        done = _run(kind, 32, 3.0, 3)
        _, p99 = line("", [(one.bare.p99_ms, one.full.p99_ms) for one in done.rounds[1:]])
        _, rate = line("", [(one.bare.per_second, one.full.per_second) for one in done.rounds[1:]])
        found += [
            Figure(f"accept on {kind}: POST/s over bare", rate, target),
            Figure(f"accept on {kind}: p99 over bare", p99, P99_TARGET, most=True),
        ]
    return found


def main(
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each round, on each of the two servers.")] = 4.0,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    connections: Annotated[int, typer.Option(min=1, help="Kept alive, each with one POST at a time.")] = 32,
    database: Annotated[Kind, typer.Option()] = Kind.SQLITE,
) -> None:
    """Measure the accept path and print the table."""
    run = _run(database, connections, seconds, rounds)
    print(
        f"accept: {run.database} on {run.filesystem}, {os.cpu_count()} cores, {connections} connections, "
        f"{rounds} x {seconds:g} s"
    )
    print(*_table(run.rounds[1:], TARGETS[database]), sep="\n")
    print(_books([round.full for round in run.rounds], run.rows))


def _run(database: Kind, connections: int, seconds: float, rounds: int) -> Run:
    with servers.folder_on_disk() as (folder, filesystem), _database(database, folder) as (url, what):
        data_dir = folder / "data"
        with servers.bare() as bare, servers.broker(data_dir, url) as (full, token):
            request = _request(token)
            done = list(_alternate(bare, full, request, connections, seconds, rounds))
        return Run(what, filesystem, done, servers.count_batches(data_dir, url))


@contextmanager
def _database(kind: Kind, folder: Path) -> Iterator[tuple[str, str]]:
    """The URL for the broker and what to call the database."""
    if kind is Kind.SQLITE:
        yield "", kind
        return
    with servers.postgresql(folder / "postgresql") as url:
        yield url, f"{kind} ({servers.durability(url)})"


def _request(token: str) -> bytes:
    head = (
        "POST /account/v2/request HTTP/1.1\r\nHost: broker.example.com\r\n"
        f"Authorization: Token {token}\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    )
    return head.encode() + BODY


def _alternate(bare: int, full: int, request: bytes, connections: int, seconds: float, rounds: int) -> Iterator[Round]:
    """A round to warm up, and the rounds that count."""
    for number in range(rounds + 1):
        one = Round(measure(bare, request, connections, seconds), measure(full, request, connections, seconds))
        name = f"round {number}" if number else "warm-up"
        print(f"{name}: {one.bare.per_second:.0f} and {one.full.per_second:.0f} POST/s", file=sys.stderr)
        yield one


def _table(rounds: Sequence[Round], target: float) -> Iterator[str]:
    yield heading("bare", "full")
    rate, rate_ratio = line("POST/s", [(one.bare.per_second, one.full.per_second) for one in rounds])
    p50, _ = line("p50 ms", [(one.bare.p50_ms, one.full.p50_ms) for one in rounds])
    p99, p99_ratio = line("p99 ms", [(one.bare.p99_ms, one.full.p99_ms) for one in rounds])
    yield f"{rate}  at least {target:.2f}  {judge(rate_ratio >= target)}"
    yield p50
    yield f"{p99}  at most {P99_TARGET:.2f}   {judge(p99_ratio <= P99_TARGET)}"


def _books(samples: Sequence[Sample], rows: int) -> str:
    """Every POST of the whole path was accepted, and is a row."""
    accepted, refused = sum(sample.accepted for sample in samples), sum(sample.refused for sample in samples)
    return f"accepted {accepted}, refused {refused}, rows {rows}: {judge(accepted == rows and not refused)}"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
