"""The CPU time of a large picture through the whole system, beside bare libvips: `python -m bench.picture`.

A JPEG of 12 megapixels is POSTed in base64 to `broker web`, enlarged twice by the classical filter and stored by
`broker worker`, until its batch is DONE; and enlarged in a process that does nothing else, by the same operations and
with the same options of JPEG, and by libvips' own `resize`. Rounds alternate. Counted is user and system time, of web,
worker and Valkey together, less what they take while idle. What the networks cost is told by `bench.upscale`.
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

TARGET = 1.10
"""Most times of the bare operations."""
IDLE_SECONDS = 3.0
PATIENCE = 120.0


@dataclass(frozen=True)
class Round:
    """CPU seconds of one picture. bare: by operation."""

    system: float
    bare: Mapping[str, float]

    @property
    def same(self) -> float:
        return self.bare["same"]


def figures() -> list[Figure]:
    """Against the table's target: the same operations."""
    ratio = median(one.system / one.same for one in _run(2, ("same",)))
    return [Figure("12 MP JPEG enlarged (classic): CPU over bare libvips", ratio, TARGET, most=True)]


def main(rounds: Annotated[int, typer.Option(min=1, help="One picture each way.")] = 4) -> None:
    """Measure and print the table."""
    found = _run(rounds, ("same", "resize"))
    print(f"picture: {WIDTH} x {HEIGHT}, {FACTOR} times, {os.cpu_count()} cores, {rounds} rounds")
    print(*_table(found), sep="\n")


def _run(rounds: int, operations: Sequence[str]) -> Sequence[Round]:
    """After a picture to warm up."""
    with servers.folder_on_disk() as (folder, _):
        picture = folder / "12mp.jpg"
        make(picture)
        with servers.fleet(folder / "data", "") as (url, token, _):
            headers = {"Authorization": f"Token {token}"}
            with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=PATIENCE) as client:
                return list(_rounds(client, picture, operations, rounds))


def _rounds(client: httpx.Client, picture: Path, operations: Sequence[str], rounds: int) -> Iterator[Round]:
    processes = psutil.Process().children()
    records = [{"_base64": base64.b64encode(picture.read_bytes()).decode()}]
    body = {"type": "upscaler", "model_type": "classic", "records": records}
    _enlarge(client, body)
    idle = _idle(processes)
    for _ in range(rounds):
        system = _enlarge_counted(client, body, processes, idle)
        one = Round(system, {operation: _bare(picture, operation) for operation in operations})
        print(f"{one.system:.2f} s, bare {one.same:.2f} s", file=sys.stderr)
        yield one


def _enlarge_counted(
    client: httpx.Client, body: Mapping[str, object], processes: Sequence[psutil.Process], idle: float
) -> float:
    """CPU seconds of one batch, beyond `idle` CPU seconds a second."""
    before, begin = _cpu(processes), time.monotonic()
    _enlarge(client, body)
    return _cpu(processes) - before - idle * (time.monotonic() - begin)


def _enlarge(client: httpx.Client, body: Mapping[str, object]) -> None:
    """One batch to its end. Raises RuntimeError unless its picture has the right size."""
    answer = client.post("/account/v2/request", json=body)
    answer.raise_for_status()
    path = f"/account/v2/request/{answer.json()['id']}?wait=60"
    while (batch := client.get(path).raise_for_status().json())["status"] != "DONE":
        pass
    (record,) = batch["response"]["records"]
    sizes = record.get("_upscaled_width"), record.get("_upscaled_height")
    if (*sizes, record.get("_method")) != (WIDTH * FACTOR, HEIGHT * FACTOR, "lanczos3"):
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


def _table(rounds: Sequence[Round]) -> Iterator[str]:
    yield heading("bare", "system")
    same, ratio = line("same", [(one.same, one.system) for one in rounds])
    resize, _ = line("resize", [(one.bare["resize"], one.system) for one in rounds])
    yield f"{same}  at most {TARGET:.2f}  {judge(ratio <= TARGET)}"
    yield resize


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
