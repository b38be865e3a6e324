"""What large bodies cost a web process: `python -m bench.large`.

Clients POST ten pictures of 2 MB of base64 each, first one client alone, then ten at once, each again after a 503 until
it is accepted; a probe asks `/healthz` all the while. Memory is the most that the process had beyond what it had when
new, over the bytes of the bodies that were under way at once, from the first byte sent to the answer, of those that
were accepted; at most as many as a workspace has room for. The loop's lag is the longest that the probe waited, in
which is what the machine gave to others.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from statistics import median
from typing import Annotated

import psutil
import typer

from bench import servers
from bench.comparison import judge
from bench.figures import Figure
from bench.processes import forget_peak, memory, peak, started
from broker.api.intake import Intake
from broker.settings import load

RECORDS = 10
RECORD_BYTES = 2_000_000
CLIENTS = 10
MEMORY_TARGET = 3.0
"""Most times of the bodies in flight."""
LAG_TARGET = 50.0
"""Most ms."""
PROBE_SECONDS = 0.005
PATIENCE = 60.0


@dataclass(frozen=True)
class Accepted:
    """A POST: when it was sent and answered, by one clock; and how often it was refused before, with Retry-After."""

    sent: float
    answered: float
    refused: int


@dataclass(frozen=True)
class Round:
    """grown: bytes of memory at the worst. in_flight: bytes of bodies that were held at most.

    lags: what the probe waited, in ms. refused: answers 503, all with Retry-After.
    """

    clients: int
    grown: int
    in_flight: int
    lags: Sequence[float]
    refused: int

    @property
    def memory(self) -> float:
        return self.grown / self.in_flight


def figures() -> list[Figure]:
    """Three rounds of one client, then of ten."""
    alone, together = _run(3)
    return [
        Figure("large body alone: memory over it", median(one.memory for one in alone), MEMORY_TARGET, most=True),
        Figure(
            "10 at once: memory over bodies in flight", median(one.memory for one in together), MEMORY_TARGET, most=True
        ),
        Figure(
            "10 at once: longest wait of /healthz, ms", median(max(one.lags) for one in together), LAG_TARGET, most=True
        ),
        Figure("10 at once: refused with Retry-After", median(one.refused for one in together), 1),
    ]


def main(rounds: Annotated[int, typer.Option(min=1, help="Of one client, and of ten.")] = 5) -> None:
    """Measure and print both tables."""
    alone, together = _run(rounds)
    print(f"large: {RECORDS} x {RECORD_BYTES / 1e6:g} MB of base64, {os.cpu_count()} cores, {rounds} rounds")
    for kind in (alone, together):
        print(*_table(kind), sep="\n")


def _run(rounds: int) -> tuple[Sequence[Round], Sequence[Round]]:
    """Rounds of one client, then of ten. All that was accepted must be a row."""
    with servers.folder_on_disk() as (folder, _):
        data_dir = folder / "data"
        with servers.broker(data_dir, "") as (port, token):
            web = started("web")
            fresh = memory(web)
            runs = [[_round(web, fresh, port, token, clients) for _ in range(rounds)] for clients in (1, CLIENTS)]
        accepted, rows = sum(one.clients for run in runs for one in run), servers.count_batches(data_dir, "")
        if accepted != rows:
            raise RuntimeError(f"accepted {accepted}, rows {rows}")
    return runs[0], runs[1]


def _round(web: psutil.Process, fresh: int, port: int, token: str, clients: int) -> Round:
    """fresh: the memory of the process before it had any body."""
    body = _body()
    forget_peak(web)
    with _probing(port) as lags, ThreadPoolExecutor(clients) as threads:
        accepted = list(threads.map(lambda _: _post(port, token, body), range(clients)))
    at_once = min(most_at_once(accepted), Intake(load().max_body_bytes).room // 2 // len(body))
    refused = sum(one.refused for one in accepted)
    done = Round(clients, peak(web) - fresh, at_once * len(body), lags, refused)
    print(
        f"{clients}: grown {done.grown / 1e6:.0f} MB, {at_once} in flight, {done.memory:.2f}, lag {max(lags):.0f} ms, "
        f"refused {refused}",
        file=sys.stderr,
    )
    return done


def most_at_once(accepted: Sequence[Accepted]) -> int:
    """How many were under way together at most. One that is sent when another is answered was not together with it."""
    steps = sorted([(one.sent, 1) for one in accepted] + [(one.answered, -1) for one in accepted])
    return max(accumulate(step for _, step in steps))


def _body() -> bytes:
    pictures = [base64.b64encode(os.urandom(RECORD_BYTES * 3 // 4)).decode() for _ in range(RECORDS)]
    return json.dumps({"type": "upscaler", "records": [{"_base64": picture} for picture in pictures]}).encode()


def _post(port: int, token: str, body: bytes) -> Accepted:
    """POST until it is accepted."""
    end = time.monotonic() + PATIENCE
    refused = 0
    headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
    while (sent := time.monotonic()) < end:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("POST", "/account/v2/request", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        if answer.status == 201:
            return Accepted(sent, time.monotonic(), refused)
        if answer.status != 503:
            raise RuntimeError(f"{answer.status}: {said!r}")
        refused += 1
        time.sleep(int(answer.headers["Retry-After"]))
    raise TimeoutError("a client was refused for a minute")


@contextmanager
def _probing(port: int) -> Iterator[list[float]]:
    """ms that `/healthz` took, asked again and again over one connection."""
    lags: list[float] = []
    over = threading.Event()
    thread = threading.Thread(target=_probe, args=(port, lags, over))
    thread.start()
    try:
        yield lags
    finally:
        over.set()
        thread.join()


def _probe(port: int, lags: list[float], over: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    while not over.wait(PROBE_SECONDS):
        begin = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        lags.append((time.perf_counter() - begin) * 1000)
    connection.close()


def _table(rounds: Sequence[Round]) -> Iterator[str]:
    memory = median(one.memory for one in rounds)
    lags = sorted(lag for one in rounds for lag in one.lags)
    longest = median(max(one.lags) for one in rounds)
    yield f"{rounds[0].clients} at once, refused {sum(one.refused for one in rounds)} times"
    yield f"  memory over bodies in flight {memory:8.2f}  at most {MEMORY_TARGET:g}   {judge(memory <= MEMORY_TARGET)}"
    yield f"  longest wait, ms             {longest:8.1f}  at most {LAG_TARGET:g}  {judge(longest <= LAG_TARGET)}"
    yield f"  p50, p99 of waits, ms        {lags[len(lags) // 2]:8.1f}  {lags[len(lags) * 99 // 100]:.1f}"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
