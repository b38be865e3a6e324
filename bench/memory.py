"""What a worker's memory does over many small pictures: `python -m bench.memory`.

Connections POST batches of one picture of 64 pixels a side in base64 to a `broker web`, and one `broker worker`
enlarges them. After each round all is DONE and the worker's memory is read. The most of it is compared with what it was
after the rounds that warm up.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pyvips
import typer

from bench import servers
from bench.bare_picture import PHOTOGRAPH
from bench.comparison import judge
from bench.figures import Figure
from bench.load import measure
from bench.processes import memory, started

TARGET = 1.10
"""Most times of the memory after the warm-up."""
WARM, SHORT, FULL = 500, 1_000, 10_000
"""Batches at least."""
CONNECTIONS, SIDE = 16, 64
ROUND, ROUND_SECONDS = 250, 60.0
"""POSTs of a round, whatever time they take, up to so long."""
SETTLE_SECONDS = 120.0


@dataclass(frozen=True)
class State:
    """After a round: batches done by then, and the worker's bytes in memory."""

    done: int
    memory: int


def figures() -> list[Figure]:
    """The shorter form."""
    warm, states = _run(SHORT)
    return [Figure(f"memory of a worker after {SHORT} batches", _growth(warm, states), TARGET, most=True)]


def main(batches: Annotated[int, typer.Option(min=1, help="After the warm-up.")] = FULL) -> None:
    """Measure and print the table."""
    warm, states = _run(batches)
    growth = _growth(warm, states)
    print(f"memory: {SIDE} x {SIDE} pixels, {os.cpu_count()} cores, {CONNECTIONS} connections")
    print(*_table(warm, states), sep="\n")
    print(f"most over {warm.done} batches: {growth:.2f}, at most {TARGET:.2f}: {judge(growth <= TARGET)}")


def _run(batches: int) -> tuple[State, Sequence[State]]:
    """The state after the warm-up, and those after further rounds. What is accepted must succeed at its first run."""
    with servers.folder_on_disk() as (folder, _), _folder_in_memory() as blobs:
        data_dir = folder / "data"
        with servers.fleet(data_dir, "", {"BROKER_BLOBS_URL": f"file://{blobs}"}) as (url, token, _):
            rounds = _rounds(data_dir, int(url.rpartition(":")[2]), _request(token))
            warm = next(state for state in rounds if state.done >= WARM)
            states: list[State] = []
            while not states or states[-1].done < warm.done + batches:
                states.append(next(rounds))
        succeeded = len(asyncio.run(servers.waits(data_dir, "")))
    if succeeded != states[-1].done:
        raise RuntimeError(f"accepted {states[-1].done}, succeeded at the first run {succeeded}")
    return warm, states


@contextmanager
def _folder_in_memory() -> Iterator[Path]:
    """For pictures: their flushes would take most of the time. On disk where the system has no such place."""
    place = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="broker-bench-", dir=place if place.is_dir() else None) as folder:
        yield Path(folder)


def _rounds(data_dir: Path, port: int, request: bytes) -> Iterator[State]:
    worker, done = started("worker"), 0
    while True:
        sample = measure(port, request, CONNECTIONS, ROUND_SECONDS, ROUND)
        asyncio.run(_settle(data_dir))
        done += sample.accepted
        state = State(done, memory(worker))
        print(f"{state.done} batches, {state.memory / 1e6:.1f} MB", file=sys.stderr)
        yield state


async def _settle(data_dir: Path) -> None:
    async with asyncio.timeout(SETTLE_SECONDS):
        while await servers.open_batches(data_dir, ""):
            await asyncio.sleep(0.1)


def _request(token: str) -> bytes:
    picture = pyvips.Image.thumbnail(str(PHOTOGRAPH), SIDE, height=SIDE, crop="centre").write_to_buffer(".jpg")
    body = json.dumps({"type": "upscaler", "records": [{"_base64": base64.b64encode(picture).decode()}]})
    head = (
        "POST /account/v2/request HTTP/1.1\r\nHost: broker.example.com\r\n"
        f"Authorization: Token {token}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


def _growth(warm: State, states: Sequence[State]) -> float:
    return max(state.memory for state in states) / warm.memory


def _table(warm: State, states: Sequence[State]) -> Iterator[str]:
    """About ten lines."""
    yield f"{'batches':>9}{'MB':>9}"
    for state in (warm, *states[:: -(-len(states) // 10)], states[-1]):
        yield f"{state.done:9}{state.memory / 1e6:9.1f}"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
