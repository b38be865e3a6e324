"""How long batches wait for a worker while Valkey loses everything, is gone or hangs: `python -m bench.nudges`.

A steady load of batches that take no time goes through `broker web` and one `broker worker`, while the troubles take
turns with calm spells. A wait is the time from acceptance to DONE by the database's clock, in looks: one second, the
longest that an idle worker may take from one look into SQL to the next. A trouble adds its longest wait less the usual
one, which is the median of calm spells.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated

import httpx
import typer

from bench import servers, troubles
from bench.accept import Kind
from bench.comparison import judge
from broker.queue.embedded import EmbeddedValkey

TYPE = "nothing"
LOOK_MS = 1000
"""What the promise allows a lost nudge to cost: one look of an idle worker."""
TARGET = 1.0
"""Most looks that a trouble may add to any wait."""
SETTLE_SECONDS = 60.0
CALM = "calm"
SPELLS: Mapping[str, troubles.Trouble] = {
    CALM: troubles.calm,
    "FLUSHALL": troubles.emptied,
    "bells taken": partial(troubles.robbed, batch_type=TYPE),
    "killed": troubles.killed,
    "back": troubles.calm,
    "hanging": troubles.hanging,
}


@dataclass
class Spells:
    """`accepted`: spell -> the batches accepted in all its rounds. `waits`: batch -> ms from acceptance to DONE."""

    accepted: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    waits: dict[str, int] = field(default_factory=dict)

    def of(self, name: str) -> list[float]:
        """The waits of a spell, in looks."""
        return [self.waits[id] / LOOK_MS for id in self.accepted[name] if id in self.waits]


@dataclass(frozen=True)
class Place:
    """A fleet and its database."""

    url: str
    token: str
    valkey: EmbeddedValkey
    data_dir: Path
    database_url: str


def main(
    seconds: Annotated[float, typer.Option(min=1, help="Of each spell.")] = 8.0,
    rounds: Annotated[int, typer.Option(min=1, help="Of all spells, one after the other.")] = 5,
    per_second: Annotated[float, typer.Option(min=1, help="Batches.")] = 20.0,
    database: Annotated[Kind | None, typer.Option(help="Default: both.")] = None,
) -> None:
    """Measure the waits and print a table for each database."""
    for kind in [database] if database else Kind:
        print(f"nudges: {kind}, {os.cpu_count()} cores, {per_second:g} batches/s, {rounds} x {seconds:g} s a spell")
        print(*table(_measure(kind, per_second, seconds, rounds)), sep="\n")


def _measure(kind: Kind, per_second: float, seconds: float, rounds: int) -> Spells:
    with ExitStack() as stack:
        folder, _ = stack.enter_context(servers.folder_on_disk())
        data_dir, database_url = folder / "data", ""
        if kind is Kind.POSTGRESQL:
            database_url = stack.enter_context(servers.postgresql(folder / "postgresql"))
        url, token, valkey = stack.enter_context(servers.fleet(data_dir, database_url))
        return asyncio.run(_take_turns(Place(url, token, valkey, data_dir, database_url), per_second, seconds, rounds))


async def _take_turns(place: Place, per_second: float, seconds: float, rounds: int) -> Spells:
    """All spells in each round, after one to warm up."""
    spells = Spells()
    headers = {"Authorization": f"Token {place.token}"}
    async with httpx.AsyncClient(base_url=place.url, headers=headers, trust_env=False, timeout=60) as client:
        await _submit(client, per_second, seconds)
        await _settle(place)
        for number in range(1, rounds + 1):
            for name, trouble in SPELLS.items():
                async with trouble(place.valkey):
                    spells.accepted[name] += await _submit(client, per_second, seconds)
                    await _settle(place)
            print(f"round {number} is over", file=sys.stderr)
    spells.waits = await servers.waits(place.data_dir, place.database_url)
    return spells


async def _submit(client: httpx.AsyncClient, per_second: float, seconds: float) -> list[str]:
    """The ids of what was accepted. Open loop: a broker that is slow gets no fewer batches."""
    begin = time.monotonic()
    body = {"type": TYPE, "records": [{"_base64": "AA=="}]}

    async def post(number: int) -> str:
        await asyncio.sleep(begin + number / per_second - time.monotonic())
        answer = await client.post("/account/v2/request", json=body)
        answer.raise_for_status()
        return str(answer.json()["id"])

    return await asyncio.gather(*(post(number) for number in range(int(per_second * seconds))))


async def _settle(place: Place) -> None:
    """Until all is DONE, while the trouble goes on."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while await servers.open_batches(place.data_dir, place.database_url):
            await asyncio.sleep(0.2)


def table(spells: Spells) -> Iterator[str]:
    """A line for each spell, and the verdicts."""
    yield f"{'':12}{'batches':>8}{'p50':>8}{'p99':>8}{'longest':>9}  looks"
    for name in SPELLS:
        yield _line(name, spells.of(name))
    usual = median(spells.of(CALM))
    added = {name: max(spells.of(name)) - usual for name in SPELLS if name != CALM}
    worst = max(added, key=lambda name: added[name])
    judged = judge(added[worst] <= TARGET)
    yield f"longest added wait {added[worst]:.2f} looks ({worst}), at most {TARGET:.2f}: {judged}"
    accepted = sum(map(len, spells.accepted.values()))
    done = sum(len(spells.of(name)) for name in SPELLS)
    yield f"accepted {accepted}, done at the first run {done}: {judge(accepted == done)}"


def _line(name: str, waits: Sequence[float]) -> str:
    percentiles = quantiles(waits, n=100, method="inclusive")
    return f"{name:12}{len(waits):8}{percentiles[49]:8.3f}{percentiles[98]:8.3f}{max(waits):9.3f}"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
