"""Posts batches and receives their webhooks, in one process with one clock: at a rate, or as fast as they come back.

`python -m bench.circuit` reads a `Plan` as JSON and prints a `Course`. It shares the machine with what it measures, so
both ends are bare protocols: some ten microseconds a batch.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import uvloop

from bench.peer import Peer
from bench.signatures import Signatures
from broker.cli.processes import listen

CREATED = b"HTTP/1.1 201 "
SETTLE_SECONDS = 60.0
PORT = "{port}"
"""Stands in a plan's body for the receiver's port."""
NUMBER = "{number}"
"""Stands there for the POST's number, eight digits."""
_ID = re.compile(rb'"id": ?"([^"]+)"')


@dataclass(frozen=True)
class Plan:
    """Who is posted what, and how. body: JSON, with PORT and NUMBER where they belong.

    secret: what the webhooks that come back are signed with; empty: none is expected.
    per_second: batches, an open loop; 0: as fast as webhooks come back, with `at_once` batches between the two.
    connections: kept alive, each with one POST at a time.
    """

    port: int
    path: str
    token: str
    body: str
    seconds: float
    per_second: float = 0.0
    at_once: int = 0
    connections: int = 32
    secret: str = ""

    def lasting(self, seconds: float) -> Plan:
        return replace(self, seconds=seconds)


@dataclass(frozen=True)
class Course:
    """Moments by batch id, in ns since 1970: when its POST was sent and answered, and when its webhook came first.

    numbers: of the POSTs. end: when the plan's time was over. doubled: webhooks that came again.
    unsigned, verified, wrong: webhooks, as `Signatures` has them.
    """

    numbers: Mapping[str, int]
    sent: Mapping[str, int]
    answered: Mapping[str, int]
    arrived: Mapping[str, int]
    end: int
    doubled: int
    unsigned: int
    verified: int
    wrong: int


def go(plan: Plan) -> Course:
    """Run this module as a process of its own.

    Raises RuntimeError if anything accepted did not come back, came twice, or came without a signature of the secret.
    """
    command = [sys.executable, "-m", "bench.circuit"]
    given = json.dumps(asdict(plan))
    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, check=True, text=True)
    course = Course(**json.loads(done.stdout))
    if plan.secret and (course.doubled or course.arrived.keys() != course.answered.keys()):
        lost = len(course.answered.keys() - course.arrived.keys())
        raise RuntimeError(f"of {len(course.answered)} batches {lost} brought no webhook, {course.doubled} two")
    if course.unsigned or course.wrong:
        raise RuntimeError(f"webhooks without a signature: {course.unsigned}, with a wrong one: {course.wrong}")
    return course


@dataclass(eq=False)
class _Circuit:
    """What both ends share. credit: POSTs that may be sent as soon as a connection is free."""

    request: bytes = b""
    credit: int = 0
    again: bool = False
    posted: int = 0
    numbers: dict[str, int] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)
    arrived: dict[str, int] = field(default_factory=dict)
    doubled: int = 0
    free: deque[_Client] = field(default_factory=deque)

    def allow(self, posts: int) -> None:
        self.credit += posts
        while self.credit > 0 and self.free:
            self.credit -= 1
            self.free.popleft().post(self.request, self.posted)
            self.posted += 1

    def note_answer(self, client: _Client, id: str, now: int) -> None:
        self.numbers[id], self.sent[id], self.answered[id] = client.number, client.sent, now
        self.free.append(client)
        self.allow(0)

    def note_arrival(self, id: str, now: int) -> None:
        if id in self.arrived:
            self.doubled += 1
            return
        self.arrived[id] = now
        self.allow(self.again)


class _Receiver(Peer):
    """Takes webhooks; the batch's id is the first of its body."""

    def __init__(self, circuit: _Circuit, signatures: Signatures) -> None:
        super().__init__()
        self._circuit = circuit
        self._signatures = signatures

    def message(self, message: bytes) -> None:
        super().message(message)
        self._circuit.note_arrival(_id_of(message), time.time_ns())
        self._signatures.look(message)


class _Client(Peer):
    """Posts one batch at a time."""

    number = sent = 0

    def __init__(self, circuit: _Circuit) -> None:
        super().__init__()
        self._circuit = circuit

    def post(self, request: bytes, number: int) -> None:
        self.number, self.sent = number, time.time_ns()
        self.transport.write(request.replace(NUMBER.encode(), b"%08d" % number))

    def message(self, message: bytes) -> None:
        if not message.startswith(CREATED):
            raise RuntimeError(f"refused: {message[:500]!r}")
        self._circuit.note_answer(self, _id_of(message), time.time_ns())


def _id_of(message: bytes) -> str:
    found = _ID.search(message, message.index(b"\r\n\r\n"))
    if found is None:
        raise RuntimeError(f"no batch is named: {message[:500]!r}")
    return found[1].decode()


async def _run(plan: Plan) -> Course:
    """Raises TimeoutError if what was accepted has not come back in time."""
    loop = asyncio.get_running_loop()
    circuit, signatures = _Circuit(again=not plan.per_second), Signatures(plan.secret)
    with listen("127.0.0.1", 0) as listening:
        circuit.request = _request(plan, listening.getsockname()[1])
        server = await loop.create_server(lambda: _Receiver(circuit, signatures), sock=listening)
        for _ in range(plan.connections):
            _, client = await loop.create_connection(lambda: _Client(circuit), "127.0.0.1", plan.port)
            circuit.free.append(client)
        await (_steadily(circuit, plan) if plan.per_second else _fully(circuit, plan))
        end = time.time_ns()
        async with asyncio.timeout(SETTLE_SECONDS):
            await _all_back(circuit, plan)
        server.close()
    return Course(
        circuit.numbers,
        circuit.sent,
        circuit.answered,
        circuit.arrived,
        end,
        circuit.doubled,
        signatures.unsigned,
        signatures.verified,
        signatures.wrong,
    )


async def _steadily(circuit: _Circuit, plan: Plan) -> None:
    begin = time.monotonic()
    for number in range(int(plan.per_second * plan.seconds)):
        await asyncio.sleep(begin + number / plan.per_second - time.monotonic())
        circuit.allow(1)


async def _fully(circuit: _Circuit, plan: Plan) -> None:
    circuit.allow(plan.at_once)
    await asyncio.sleep(plan.seconds)
    circuit.again, circuit.credit = False, 0


async def _all_back(circuit: _Circuit, plan: Plan) -> None:
    while circuit.credit or len(circuit.free) < plan.connections:
        await asyncio.sleep(0.05)
    while plan.secret and circuit.arrived.keys() < circuit.answered.keys():
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)  # for what comes twice


def _request(plan: Plan, port: int) -> bytes:
    body = plan.body.replace(PORT, str(port)).encode()
    length = len(body.replace(NUMBER.encode(), b"%08d" % 0))
    head = (
        f"POST {plan.path} HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\nAuthorization: Bearer {plan.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    return head.encode() + body


if __name__ == "__main__":
    found = json.dumps(asdict(uvloop.run(_run(Plan(**json.loads(sys.stdin.read()))))))
    with open(1, "wb", closefd=False) as output:  # which writes all, where stdout need not be buffered
        output.write(found.encode())
