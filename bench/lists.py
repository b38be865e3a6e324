"""Lists, states and details of a database that is full, beside one that is nearly empty: `python -m bench.lists`.

Two `broker web` in one run, one over 1,000,000 batches of 50 workspaces, one over 1,000. One of these workspaces asks,
over one connection, in turns. Rows are made in SQL, as POSTs of them would take minutes.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated

import typer

from bench import rows_in_sql, servers
from bench.accept import Kind
from bench.comparison import heading, judge, line
from bench.figures import Figure
from bench.load import Client

RATIO_TARGET, P99_TARGET = 1.5, 20.0
"""Most times of the small database's p50; most ms of the full one's p99."""
SMALL, FULL, WORKSPACES = 1_000, 1_000_000, 50
PAGE = 20
LIST = "/account/v2/request"
OWN = "/api/batches"


@dataclass(frozen=True)
class Filled:
    """A web server over a database with batches of so many workspaces, and the token of the first of these."""

    port: int
    token: str
    batches: int
    workspaces: int

    @property
    def mine(self) -> int:
        """Batches of the workspace that asks."""
        return -(-self.batches // self.workspaces)

    @property
    def pages(self) -> int:
        return -(-self.mine // PAGE)

    def pick(self, picked: random.Random) -> str:
        """The id of a batch of that workspace."""
        return rows_in_sql.id_of(picked.randrange(self.mine) * self.workspaces)


Ask = Callable[[Filled, random.Random], str]
"""The address of the next question."""

ASKS: Mapping[str, Ask] = {
    "first page": lambda filled, _: f"{LIST}?page_size={PAGE}",
    "filtered page": lambda filled, _: f"{LIST}?page_size={PAGE}&type={rows_in_sql.TYPE}&status=DONE",
    "last that failed": lambda filled, _: f"{OWN}?page_size=1&outcome=failed",
    "deep page": lambda filled, picked: f"{LIST}?page_size={PAGE}&page={picked.randint(1, filled.pages)}",
    "last page": lambda filled, _: f"{OWN}?page_size={PAGE}&page={filled.pages}",
    "status": lambda filled, picked: f"{LIST}/{filled.pick(picked)}/status",
    "details": lambda filled, picked: f"{LIST}/{filled.pick(picked)}",
}


@dataclass(frozen=True)
class Times:
    """Of one kind of question: (small, full) p50 of each round, and all of the full one's, in ms."""

    rounds: Sequence[tuple[float, float]]
    full: Sequence[float]

    @property
    def ratio(self) -> float:
        return median(full / small for small, full in self.rounds)

    @property
    def p99_ms(self) -> float:
        return quantiles(self.full, n=100, method="inclusive")[98]


def figures() -> list[Figure]:
    """Both databases, against the table's targets."""
    return [figure for kind in Kind for figure in _figures(kind)]


def _figures(kind: Kind) -> Iterator[Figure]:
    measured = _run(kind, FULL, WORKSPACES, 3, 60)
    for name, times in measured.items():
        yield Figure(f"{name} on {kind}, p50: 1,000,000 batches over 1,000", times.ratio, RATIO_TARGET, most=True)
    worst = max(times.p99_ms for times in measured.values())
    yield Figure(f"lists, status, details on {kind}, 1,000,000: worst p99, ms", worst, P99_TARGET, most=True)


def main(
    database: Annotated[Kind, typer.Option()] = Kind.SQLITE,
    batches: Annotated[int, typer.Option(min=SMALL, help="In the full database.")] = FULL,
    workspaces: Annotated[int, typer.Option(min=1, help="That share them.")] = WORKSPACES,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    questions: Annotated[int, typer.Option(min=10, help="Of each kind, a round, to each of the two.")] = 100,
) -> None:
    """Measure lists and print the table."""
    measured = _run(database, batches, workspaces, rounds, questions)
    print(f"lists: {database}, {batches:,} batches of {workspaces} workspaces beside {SMALL:,}; p50 in ms")
    print(f"{heading(f'{SMALL:,}', f'{batches:,}')}{'':23}p99")
    for name, times in measured.items():
        text, ratio = line(name, times.rounds)
        bounds = f"at most {RATIO_TARGET}  {judge(ratio <= RATIO_TARGET):5}"
        print(f"{text}  {bounds}{times.p99_ms:9.1f} at most {P99_TARGET:g}  {judge(times.p99_ms <= P99_TARGET)}")


def _run(kind: Kind, batches: int, workspaces: int, rounds: int, questions: int) -> Mapping[str, Times]:
    with servers.folder_on_disk() as (folder, _), ExitStack() as stack:
        small = stack.enter_context(_filled(kind, folder / "small", SMALL, workspaces))
        full = stack.enter_context(_filled(kind, folder / "full", batches, workspaces))
        for filled in (small, full):
            _check_books(filled)
        return {name: _compare(ask, small, full, rounds, questions) for name, ask in ASKS.items()}


@contextmanager
def _filled(kind: Kind, folder: Path, batches: int, workspaces: int) -> Iterator[Filled]:
    with ExitStack() as stack:
        url = "" if kind is Kind.SQLITE else stack.enter_context(servers.postgresql(folder.with_suffix(".server")))
        port, token = stack.enter_context(servers.broker(folder, url))
        begin = time.monotonic()
        asyncio.run(rows_in_sql.fill(folder, url, servers.WORKSPACE, batches, workspaces))
        print(f"{batches:,} batches in {time.monotonic() - begin:.0f} s", file=sys.stderr)
        yield Filled(port, token, batches, workspaces)


def _check_books(filled: Filled) -> None:
    """Raises RuntimeError unless the lists count what is there."""
    failed = len(range(1, filled.mine, rows_in_sql.PARTS))
    with closing(Asker(filled)) as asker:
        for address, there in ((LIST, filled.mine), (OWN, filled.mine), (f"{OWN}?outcome=failed", failed)):
            told = json.loads(asker.ask(address))["count"]
            if told != there:
                raise RuntimeError(f"{address} counts {told} of {there}")


def _compare(ask: Ask, small: Filled, full: Filled, rounds: int, questions: int) -> Times:
    """A round to warm up, and the rounds that count."""
    picked = random.Random(7)
    pairs, all_ = [], []
    with closing(Asker(small)) as one, closing(Asker(full)) as other:
        for _ in range(rounds + 1):
            times = [[asker.time(ask(asker.filled, picked)) for _ in range(questions)] for asker in (one, other)]
            pairs.append((median(times[0]), median(times[1])))
            all_.append(times[1])
    return Times(pairs[1:], [ms for times in all_[1:] for ms in times])


class Asker:
    """One connection that is kept alive, on which a question follows the answer to the last."""

    def __init__(self, filled: Filled) -> None:
        self.filled = filled
        self._client = Client(socket.create_connection(("127.0.0.1", filled.port)))

    def ask(self, address: str) -> bytes:
        """The body of the answer. Raises RuntimeError unless it is a 200."""
        head = f"GET {address} HTTP/1.1\r\nHost: broker.example.com\r\nAuthorization: Token {self.filled.token}\r\n\r\n"
        self._client.send(head.encode(), time.perf_counter())
        while not self._client.receive():
            pass
        status, _, body = bytes(self._client.answer).partition(b"\r\n\r\n")
        if not status.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"{address}: {status.decode()}")
        return body

    def time(self, address: str) -> float:
        """How long the answer takes, in ms."""
        begin = time.perf_counter()
        self.ask(address)
        return (time.perf_counter() - begin) * 1000

    def close(self) -> None:
        self._client.connection.close()


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
