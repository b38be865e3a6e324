"""The CPU time of a large picture through the whole system, beside bare libvips: `python -m bench.picture`.

A JPEG of 12 megapixels is POSTed in base64 to `broker web`, enlarged twice by the classical filter and stored by
`broker worker`, until its batch is DONE; and enlarged in a process that does nothing else, by the same operations and
with the same options of JPEG, and by libvips' own `resize`. Rounds alternate. Counted is user and system time, of web,
worker and Valkey together, less what they take while idle. Once the picture is enlarged as it is where nothing is said,
by a network, which libvips does not have; so that has no target. `bench.upscale` tells what that costs alone.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import httpx
import psutil
import typer

from bench import servers
from bench.bare_picture import FACTOR, HEIGHT, WIDTH, make
from bench.comparison import heading, judge, line
from bench.figures import Figure
from bench.processes import cpu_seconds
from handlers.upscaler import learned, scale

TARGET = 1.10
"""Most times of the bare operations."""
OPERATIONS = ("same", "resize")
CLASSIC, LEARNED = scale.METHOD, learned.METHOD
IDLE_SECONDS = 3.0
PATIENCE = 120.0


@dataclass(frozen=True)
class Round:
    """CPU seconds of one picture, by the classical filter. bare: by operation."""

    system: float
    bare: Mapping[str, float]

    def over(self, operation: str) -> float:
        """Times of the bare one."""
        return self.system / self.bare[operation]


@dataclass(frozen=True)
class Found:
    """learned: CPU seconds of the picture by a network."""

    rounds: Sequence[Round]
    learned: float

    def over(self, operation: str) -> float:
        return median(one.over(operation) for one in self.rounds)

    @property
    def learned_over_resize(self) -> float:
        return self.learned / median(one.bare["resize"] for one in self.rounds)


def figures() -> list[Figure]:
    """Against the table's target: the same operations, and libvips' own."""
    found = _run(2)
    return [
        Figure("12 MP JPEG enlarged (classic): CPU over bare libvips", found.over("same"), TARGET, most=True),
        Figure("12 MP JPEG resized (classic): CPU over bare resize", found.over("resize"), TARGET, most=True),
        Figure("12 MP JPEG resized (by a network): CPU over bare resize", found.learned_over_resize, None),
    ]


def main(rounds: Annotated[int, typer.Option(min=1, help="One picture each way.")] = 4) -> None:
    """Measure and print the table."""
    found = _run(rounds)
    print(f"picture: {WIDTH} x {HEIGHT}, {FACTOR} times, {os.cpu_count()} cores, {rounds} rounds")
    print(*_table(found), sep="\n")


def _run(rounds: int) -> Found:
    """After a picture to warm up."""
    with servers.folder_on_disk() as (folder, _):
        picture = folder / "12mp.jpg"
        make(picture)
        with servers.fleet(folder / "data", "") as (url, token, _):
            headers = {"Authorization": f"Token {token}"}
            with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=PATIENCE) as client:
                return _measure(client, picture, rounds)


def _measure(client: httpx.Client, picture: Path, rounds: int) -> Found:
    processes = psutil.Process().children()
    default = {"type": "upscaler", "records": [{"_base64": base64.b64encode(picture.read_bytes()).decode()}]}
    classic = {**default, "model_type": "classic"}
    _enlarge(client, classic, CLASSIC)
    idle = _idle(processes)

    def counted(body: Mapping[str, object], method: str) -> float:
        """CPU seconds of one batch, beyond those of doing nothing."""
        before, begin = _cpu(processes), time.monotonic()
        _enlarge(client, body, method)
        return _cpu(processes) - before - idle * (time.monotonic() - begin)

    found = []
    for _ in range(rounds):
        system = counted(classic, CLASSIC)
        found.append(Round(system, {operation: _bare(picture, operation) for operation in OPERATIONS}))
        print(f"{system:.2f} s, bare {found[-1].bare}", file=sys.stderr)
    return Found(found, counted(default, LEARNED))


def _enlarge(client: httpx.Client, body: Mapping[str, object], method: str) -> None:
    """One batch to its end. Raises RuntimeError unless its picture has the right size and was made by this method."""
    answer = client.post("/account/v2/request", json=body)
    answer.raise_for_status()
    path = f"/account/v2/request/{answer.json()['id']}?wait=60"
    while (batch := client.get(path).raise_for_status().json())["status"] != "DONE":
        pass
    (record,) = batch["response"]["records"]
    sizes = record.get("_upscaled_width"), record.get("_upscaled_height")
    if (*sizes, record.get("_method")) != (WIDTH * FACTOR, HEIGHT * FACTOR, method):
        raise RuntimeError(f"not enlarged: {record}")


def _bare(picture: Path, operation: str) -> float:
    command = [sys.executable, "-m", "bench.bare_picture", str(picture), operation]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


def _idle(processes: Sequence[psutil.Process]) -> float:
    before = _cpu(processes)
    time.sleep(IDLE_SECONDS)
    return (_cpu(processes) - before) / IDLE_SECONDS


def _cpu(processes: Sequence[psutil.Process]) -> float:
    return sum(map(cpu_seconds, processes))


def _table(found: Found) -> Iterator[str]:
    yield heading("bare", "system")
    for operation in OPERATIONS:
        text, ratio = line(operation, [(one.bare[operation], one.system) for one in found.rounds])
        yield f"{text}  at most {TARGET:.2f}  {judge(ratio <= TARGET)}"
    yield f"by a network {found.learned:.1f} s of CPU, {found.learned_over_resize:.2f} times of bare resize; no target"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
