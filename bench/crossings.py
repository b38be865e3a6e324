"""What crosses to Redis and to the database for a batch under load: `python -m bench.crossings`.

Connections POST batches that take no time to a `broker web`, each as soon as its last one is answered, while one
`broker worker` runs them; then the worker runs the rest. Taps stand before the embedded Valkey and before PostgreSQL
and count on the socket. SQLite has no socket; the same functions send it the same statements.

A round trip to Redis is an answer to whatever was asked on that connection since its last one, so a pipeline is one.
Statements are those of the transactions that store accepted batches, claim or finish, with their BEGIN, COMMIT and
looks at the clock; those of a transaction that does two of the three count for both. A kind whose transactions would
hold less than one batch each, or more than are under way at once, was miscounted.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bench import servers
from bench.comparison import judge
from bench.figures import Figure
from bench.load import measure
from bench.tap import Tap, tapping

TURNS_TARGET = 2.0
"""Most round trips to Redis a batch."""
STATEMENTS_TARGET = 3.0
"""Most statements a batch, of each kind."""
JUDGED, REST = ("accept", "claim", "finish"), ("other", "alone")
CONNECTIONS, SLOTS = 32, 8
"""POSTs and batches that are under way at most; eight is the default of workers."""
TOGETHER = {"accept": CONNECTIONS, "claim": SLOTS, "finish": SLOTS}
"""Batches that a transaction of each kind can hold at most."""
SETTLE_SECONDS = 60.0
BODY = b'{"type":"nothing","records":[{"_base64":"AA=="}]}'


@dataclass(frozen=True)
class Place:
    """A fleet and its database, which is asked beside the tap."""

    port: int
    token: str
    data_dir: Path
    database_url: str


@dataclass(frozen=True)
class Counted:
    """batches: accepted, and done at their first claim. turns, statements: what the taps counted meanwhile."""

    batches: int
    turns: Counter[str]
    statements: Counter[str]

    def each(self, counts: Counter[str], name: str) -> float:
        """A batch's part."""
        return counts[name] / self.batches

    def together(self, kind: str) -> float:
        """Batches a transaction, on average. Raises RuntimeError where that cannot be."""
        transactions = self.statements[f"{kind} transactions"]
        if not transactions <= self.batches <= transactions * TOGETHER[kind]:
            raise RuntimeError(f"{kind}: miscounted, as {transactions} transactions cannot hold {self.batches} batches")
        return self.batches / transactions


def figures() -> list[Figure]:
    """Against the table's targets."""
    counted = _run(6.0)
    return [
        Figure("Redis round trips a batch", counted.each(counted.turns, "turns"), TURNS_TARGET, most=True),
        *(
            Figure(f"statements a batch: {kind}", counted.each(counted.statements, kind), STATEMENTS_TARGET, most=True)
            for kind in JUDGED
        ),
    ]


def main(seconds: Annotated[float, typer.Option(min=1, help="Of the load.")] = 10.0) -> None:
    """Count and print the table."""
    counted = _run(seconds)
    print(f"crossings: {os.cpu_count()} cores, {CONNECTIONS} connections for {seconds:g} s, {counted.batches} batches")
    print(*_table(counted), sep="\n")


def _run(seconds: float) -> Counted:
    """After a second to warm up. Everything that was accepted must be done at its first claim, and counted."""
    with _tapped() as (place, redis, database):
        warmed = _load(place, 1.0)
        redis.read(), database.read()
        loaded = _load(place, seconds)
        counted = Counted(loaded, redis.read(), database.read())
        done = len(asyncio.run(servers.waits(place.data_dir, place.database_url)))
    if done != warmed + loaded:
        raise RuntimeError(f"accepted {warmed + loaded}, done at the first claim {done}")
    for kind in JUDGED:
        counted.together(kind)
    return counted


@contextmanager
def _tapped() -> Iterator[tuple[Place, Tap, Tap]]:
    """A fleet on PostgreSQL, the tap before its Valkey and the one before its database."""
    with ExitStack() as stack:
        folder, _ = stack.enter_context(servers.folder_on_disk())
        taps = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taps-")))  # no path of a socket may be long
        data_dir, postgresql = folder / "data", folder / "postgresql"
        database_url = stack.enter_context(servers.postgresql(postgresql))
        name = ".s.PGSQL.5432"
        redis = stack.enter_context(tapping("turns", taps / "valkey", data_dir / "valkey" / "valkey.sock"))
        database = stack.enter_context(tapping("statements", taps / name, postgresql / name))
        settings = {
            "BROKER_WORKER_BATCHES": str(SLOTS),
            "BROKER_REDIS_URL": f"unix://{taps / 'valkey'}",
            "BROKER_DATABASE_URL": database_url.replace(str(postgresql), str(taps)),
        }
        url, token, _ = stack.enter_context(servers.fleet(data_dir, database_url, settings))
        yield Place(int(url.rpartition(":")[2]), token, data_dir, database_url), redis, database


def _load(place: Place, seconds: float) -> int:
    """How many were accepted; all is done by now."""
    head = (
        "POST /account/v2/request HTTP/1.1\r\nHost: broker.example.com\r\n"
        f"Authorization: Token {place.token}\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    )
    sample = measure(place.port, head.encode() + BODY, CONNECTIONS, seconds)
    if sample.refused:
        raise RuntimeError(f"{sample.refused} refused")
    asyncio.run(_settle(place))
    return sample.accepted


async def _settle(place: Place) -> None:
    async with asyncio.timeout(SETTLE_SECONDS):
        while await servers.open_batches(place.data_dir, place.database_url):
            await asyncio.sleep(0.2)


def _table(counted: Counted) -> Iterator[str]:
    turns = counted.each(counted.turns, "turns")
    yield f"{'a batch':22}{'counted':>9}  target"
    yield f"{'Redis round trips':22}{turns:9.3f}  at most {TURNS_TARGET:g}  {judge(turns <= TURNS_TARGET)}"
    for kind in JUDGED:
        found = counted.each(counted.statements, kind)
        together = counted.together(kind)
        verdict = judge(found <= STATEMENTS_TARGET)
        yield f"{f'statements: {kind}':22}{found:9.3f}  at most {STATEMENTS_TARGET:g}  {verdict}"
        yield f"{'  a transaction':22}{together:9.1f}  batches"
    for kind in REST:
        yield f"{f'statements: {kind}':22}{counted.each(counted.statements, kind):9.3f}"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
