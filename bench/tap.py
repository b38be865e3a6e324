"""Taps: each stands between processes and a server, passes everything on, and counts what crosses.

`python -m bench.tap turns|statements LISTEN SERVER` listens on a UNIX socket and connects to another. For each line
that it reads it prints what it has counted since the last one, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import uvloop

START_SECONDS = 10.0
CHUNK = 256 * 1024
KINDS = {
    "accept": re.compile(r"INSERT INTO batches\b"),
    "claim": re.compile(r"UPDATE batches SET status=\S+ lease_seq="),
    "finish": re.compile(r"UPDATE batches SET [^\n]*\bfinished="),
}
"""What a transaction is for, by a statement of PostgreSQL's that it holds."""


class Counting(Protocol):
    """Looks at one connection's bytes; notes what it finds in the counter that it was given."""

    def asked(self, data: bytes) -> None:
        """From the client."""

    def answered(self) -> None:
        """The server has said something."""


class Turns:
    """Round trips: the server says something, after something was asked since it last did."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._waiting = False

    def asked(self, data: bytes) -> None:
        self._waiting = True

    def answered(self) -> None:
        self._counts["turns"] += self._waiting
        self._waiting = False


class Statements:
    """PostgreSQL's Execute and Query messages, BEGIN and COMMIT among them, by the kind of their transaction.

    What holds statements of several kinds counts whole for each. `other`: transactions of none; `alone`: likewise,
    outside any transaction.
    """

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._data = bytearray()
        self._began = False
        self._prepared: dict[bytes, str] = {}
        self._bound = ""
        self._open: list[str] | None = None

    def asked(self, data: bytes) -> None:
        self._data += data
        while len(self._data) >= 5:
            head = 1 if self._began else 0  # the first message has no type
            end = head + int.from_bytes(self._data[head : head + 4], "big")
            if len(self._data) < end:
                return
            kind, payload = bytes(self._data[:head]), bytes(self._data[head + 4 : end])
            del self._data[:end]
            self._began = True
            self._message(kind, payload)

    def answered(self) -> None:
        """Nothing is counted of answers."""

    def _message(self, kind: bytes, payload: bytes) -> None:
        if kind == b"P":
            name, text, _ = payload.split(b"\0", 2)
            self._prepared[name] = text.decode()
        elif kind == b"B":
            self._bound = self._prepared[payload.split(b"\0", 2)[1]]
        elif kind == b"E":
            self._executed(self._bound)
        elif kind == b"Q":
            self._executed(payload.rstrip(b"\0").decode())

    def _executed(self, text: str) -> None:
        if self._open is not None:
            self._open.append(text)
            if text.startswith(("COMMIT", "ROLLBACK")):
                self._ended(self._open, "other")
                self._open = None
        elif text.startswith("BEGIN"):
            self._open = [text]
        else:
            self._ended([text], "alone")

    def _ended(self, transaction: list[str], unknown: str) -> None:
        kinds = [kind for kind, found in KINDS.items() if any(map(found.search, transaction))]
        for name in kinds or [unknown]:
            self._counts[name] += len(transaction)
            self._counts[f"{name} transactions"] += 1


COUNTING: Mapping[str, type[Turns | Statements]] = {"turns": Turns, "statements": Statements}


class Tap:
    """A tap that runs in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def read(self) -> Counter[str]:
        """What was counted since the last time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Counter(json.loads(self._process.stdout.readline()))


@contextmanager
def tapping(kind: str, listen: Path, server: Path) -> Iterator[Tap]:
    """A tap on `server`'s socket, to be reached at `listen`. It connects only when somebody does."""
    command = [sys.executable, "-m", "bench.tap", kind, str(listen), str(server)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        tap = Tap(process)
        tap.read()
        yield tap
    finally:
        process.kill()
        process.communicate()


async def _main(kind: str, listen: str, server: str) -> None:
    counts: Counter[str] = Counter()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counting = COUNTING[kind](counts)
        answers, requests = await asyncio.open_unix_connection(server)

        async def ask() -> None:
            while data := await reader.read(CHUNK):
                counting.asked(data)
                requests.write(data)
                await requests.drain()
            requests.close()

        async def answer() -> None:
            while data := await answers.read(CHUNK):
                counting.answered()
                writer.write(data)
                await writer.drain()
            writer.close()

        await asyncio.gather(ask(), answer(), return_exceptions=True)

    async with await asyncio.start_unix_server(connected, listen):
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(counts), flush=True)
            counts.clear()


if __name__ == "__main__":
    uvloop.run(_main(*sys.argv[1:]))
