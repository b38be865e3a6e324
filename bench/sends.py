"""POSTs a second of the webhook client beside httpx, to one receiver in a process of its own: `python -m bench.sends`.

Three ways to send the same body: httpx as users would; the broker's client alone, guarded; and as a try sends it, with
its target opened and its signature made. Rounds alternate, each from one process on one event loop.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, TypeAlias

import httpx
import typer
import uvloop

from bench import servers
from bench.figures import Figure
from broker.batches import Webhook, new_id
from broker.deliveries import EVENT_DONE, NewDelivery, seal_target
from broker.endpoints import endpoint_of
from broker.net.addresses import Policy
from broker.net.client import post_client
from broker.provision import Provision
from broker.secrets import Vault
from broker.store.database import open_database
from broker.store.migrate import migrate
from broker.webhooks.keys import SigningSecrets
from broker.webhooks.post import Poster

AT_ONCE = (4, 32)
HTTPX, CLIENT, TRY = "httpx alone", "our client alone", "a try of ours"
BODY = b'{"id":"2e9b43f2-61be-4aaa-8a6a-a74fc0f80b57","status":"DONE","response":{"records":[{"n":1}]}}'
TIMEOUT = 20.0

Send: TypeAlias = Callable[[], Awaitable[int]]
"""Sends once; the status of the answer."""
Rates: TypeAlias = Mapping[tuple[str, int], float]
"""(which, how many at once) -> sends a second, the median of the rounds."""


def figures() -> list[Figure]:
    """Against httpx: whoever writes a client of their own must gain by it."""
    rates = _run(1.0, 3)
    most = max(AT_ONCE)
    return [
        Figure(f"webhook client, {most} at once: a try's sends/s over httpx", rates[TRY, most] / rates[HTTPX, most], 1)
    ]


def main(
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each of a round's six measurements.")] = 2.0,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Measure and print the table."""
    rates = _run(seconds, rounds)
    print(f"sends/s: {os.cpu_count()} cores, {rounds} x {seconds:g} s")
    print(*_table(rates), sep="\n")


def _table(rates: Rates) -> Iterator[str]:
    yield f"{'':20}" + "".join(f"{at_once:>8} at once" for at_once in AT_ONCE)
    for which in (HTTPX, CLIENT, TRY):
        yield f"{which:20}" + "".join(f"{rates[which, at_once]:16,.0f}" for at_once in AT_ONCE)


def _run(seconds: float, rounds: int) -> Rates:
    with servers.receiver() as port, TemporaryDirectory() as folder:
        return uvloop.run(_measure(f"http://127.0.0.1:{port}/hook", Path(folder), seconds, rounds))


async def _measure(url: str, folder: Path, seconds: float, rounds: int) -> Rates:
    """After a round to warm up."""
    found: dict[tuple[str, int], list[float]] = {}
    async with _ways(url, folder) as ways:
        for number in range(rounds + 1):
            for which, send in ways.items():
                for at_once in AT_ONCE:
                    rate = await rate_of(send, at_once, seconds if number else 0.2)
                    if number:
                        found.setdefault((which, at_once), []).append(rate)
    return {key: median(rates) for key, rates in found.items()}


@asynccontextmanager
async def _ways(url: str, folder: Path) -> AsyncIterator[Mapping[str, Send]]:
    async with AsyncExitStack() as stack:
        theirs = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, verify=False))
        ours = await stack.enter_async_context(post_client(Policy((ip_network("127.0.0.1/32"),))))
        database, vault = open_database("", folder), Vault(["k" * 32])
        stack.push_async_callback(database.aclose)
        await migrate(database)
        workspace = (await Provision(database, vault).workspace(servers.WORKSPACE)).id
        poster = Poster(vault, SigningSecrets(database, vault), ours, TIMEOUT)
        headers = {"content-type": "application/json", "optional_field": "optional_value"}
        target = seal_target(vault, Webhook(url, headers))
        endpoint = endpoint_of(vault, workspace, url)

        async def httpx_alone() -> int:
            return (await theirs.post(url, content=BODY, headers=headers)).status_code

        async def client_alone() -> int:
            return (await ours.post(url, headers, BODY, 20_000)).status_code

        async def a_try() -> int:
            delivery = NewDelivery(new_id(), None, workspace, 1, EVENT_DONE, endpoint, target, BODY).first_try()
            return (await poster.post(delivery, time.monotonic() + 2 * TIMEOUT)).status_code or 0

        yield {HTTPX: httpx_alone, CLIENT: client_alone, TRY: a_try}


async def rate_of(send: Send, at_once: int, seconds: float) -> float:
    """Sends a second. Raises RuntimeError unless each is taken."""
    begin = time.monotonic()
    end = begin + seconds

    async def one() -> Sequence[int]:
        answers = []
        while time.monotonic() < end:
            answers.append(await send())
        return answers

    answers = [status for mine in await asyncio.gather(*(one() for _ in range(at_once))) for status in mine]
    if wrong := [status for status in answers if status != httpx.codes.NO_CONTENT]:
        raise RuntimeError(f"{len(wrong)} of {len(answers)} were not taken")
    return len(answers) / (time.monotonic() - begin)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
