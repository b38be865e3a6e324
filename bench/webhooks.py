"""How long webhooks take to endpoints that answer while others hang, and while none does: `python -m bench.webhooks`.

Batches go through `broker up` as users run it. A delivery's delay is the time from the commit that owes it to its
arrival at the receiver. Each round has a broker of its own: first all endpoints answer, then some take the connection
and never answer, until the broker's own deadline. The ratio is the median over rounds of the two p99.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Annotated

import httpx
import typer

from bench import servers
from bench.comparison import heading, judge, line
from bench.receivers import Receivers, receiving
from broker.origins import origin_of

TARGET = 2.0
"""Most times of the p99 of endpoints that all answer."""
SETTLE_SECONDS = 60.0
PICTURE = Path(__file__).parents[1] / "broker" / "cli" / "photographs" / "chelsea-face.webp"


@dataclass(frozen=True)
class Load:
    """So many batches a second for so long, each with a webhook to one of so many endpoints, picked at random."""

    per_second: float
    seconds: float
    endpoints: int
    hanging: int


@dataclass(frozen=True)
class Delays:
    """Of the deliveries to endpoints that answer, in ms. owed, arrived: how many, which should be the same."""

    owed: int
    arrived: int
    p50_ms: float
    p99_ms: float


def main(
    seconds: Annotated[float, typer.Option(min=1, help="Of each half of a round.")] = 30.0,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    endpoints: Annotated[int, typer.Option(min=2, help="All of them.")] = 200,
    hanging: Annotated[int, typer.Option(min=1, help="Those that never answer, in a round's second half.")] = 100,
    per_second: Annotated[float, typer.Option(min=0.1, help="Batches, each of one small picture.")] = 15.0,
) -> None:
    """Measure the delays and print the table."""
    pairs = []
    for number in range(1, rounds + 1):
        both = [asyncio.run(measure(Load(per_second, seconds, endpoints, some))) for some in (0, hanging)]
        print(f"round {number}: p99 {both[0].p99_ms:.0f} and {both[1].p99_ms:.0f} ms", file=sys.stderr)
        pairs.append((both[0], both[1]))
    print(
        f"webhooks: {endpoints} endpoints, {os.cpu_count()} cores, {per_second:g} batches/s, {rounds} x {seconds:g} s; "
        f"delays to those that answer while {hanging} hang, beside all answering"
    )
    print(*_table(pairs), sep="\n")


async def measure(load: Load) -> Delays:
    """One half of a round, on a broker of its own."""
    with servers.folder_on_disk() as (folder, _):
        async with receiving(load.endpoints - load.hanging, load.hanging) as receivers:
            with servers.everything(folder / "data") as (url, token):
                await _submit(url, token, load, receivers)
                owed = await _owed(folder / "data", receivers)
            return _delays(owed, receivers.arrived)


async def _submit(url: str, token: str, load: Load, receivers: Receivers) -> None:
    """Open loop: a broker that is slow gets no fewer batches."""
    picked = random.Random(7)
    targets = [*receivers.healthy, *receivers.hanging]
    record = {"_base64": base64.b64encode(PICTURE.read_bytes()).decode()}
    headers = {"Authorization": f"Token {token}"}
    begin = time.monotonic()
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=60) as client:

        async def post(place: int) -> None:
            await asyncio.sleep(begin + place / load.per_second - time.monotonic())
            hook = {"endpoint": picked.choice(targets)}
            answer = await client.post(
                "/account/v2/request", json={"type": "upscaler", "records": [record], "webhook": hook}
            )
            answer.raise_for_status()

        await asyncio.gather(*(post(place) for place in range(int(load.per_second * load.seconds))))


async def _owed(data_dir: Path, receivers: Receivers) -> Mapping[str, int]:
    """Delivery -> when it was owed, in ms, of those to endpoints that answer, once all of them have arrived."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        open_batches, owed = await servers.deliveries(data_dir, {origin_of(url) for url in receivers.healthy})
        if (not open_batches and owed.keys() <= receivers.arrived.keys()) or time.monotonic() > end:
            return owed
        await asyncio.sleep(0.5)


def _delays(owed: Mapping[str, int], arrived: Mapping[str, float]) -> Delays:
    delays = [arrived[id] * 1000 - created for id, created in owed.items() if id in arrived]
    percentiles = quantiles(delays, n=100, method="inclusive")
    return Delays(len(owed), len(delays), percentiles[49], percentiles[98])


def _table(pairs: Sequence[tuple[Delays, Delays]]) -> Iterator[str]:
    yield heading("answering", "hanging")
    p50, _ = line("p50 ms", [(one.p50_ms, other.p50_ms) for one, other in pairs])
    p99, ratio = line("p99 ms", [(one.p99_ms, other.p99_ms) for one, other in pairs])
    yield p50
    yield f"{p99}  at most {TARGET:.2f}  {judge(ratio <= TARGET)}"
    owed, arrived = sum(one.owed for pair in pairs for one in pair), sum(one.arrived for pair in pairs for one in pair)
    yield f"owed {owed}, arrived {arrived}: {judge(owed == arrived)}"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
