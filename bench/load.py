"""Posts the same bytes over keep-alive connections, each as soon as its last answer is there, and times the answers.

`python -m bench.load PORT CONNECTIONS SECONDS POSTS < REQUEST` prints a `Sample` as JSON. It shares the machine with
the server that it measures, so it is raw sockets and a selector: a few microseconds a request.
"""

from __future__ import annotations

import json
import selectors
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field

CREATED = b"HTTP/1.1 201 "
STOP_SECONDS = 30.0
UNLIMITED = sys.maxsize
"""POSTs of a round that only its time ends."""


@dataclass(frozen=True)
class Sample:
    """One round on one server, over after its time or with the last answer to so many POSTs, whichever comes first.

    per_second: answers a second. p50_ms, p99_ms: from the first byte sent to the last received.
    accepted: answers 201. refused: all others. Both count the last answers too, which come after the round.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    accepted: int
    refused: int


def measure(port: int, request: bytes, connections: int, seconds: float, posts: int = UNLIMITED) -> Sample:
    """Run this module as a process of its own against a server on this machine. posts: no fewer than connections."""
    command = [sys.executable, "-m", "bench.load", str(port), str(connections), str(seconds), str(posts)]
    done = subprocess.run(command, input=request, stdout=subprocess.PIPE, check=True)
    return Sample(**json.loads(done.stdout))


@dataclass(eq=False, slots=True)
class Client:
    """One connection and the answer that it waits for."""

    connection: socket.socket
    sent: float = 0.0
    answer: bytearray = field(default_factory=bytearray)

    def send(self, request: bytes, now: float) -> None:
        self.answer.clear()
        self.sent = now
        self.connection.sendall(request)

    def receive(self) -> bool:
        """Whether the answer is complete."""
        part = self.connection.recv(65536)
        if not part:
            raise ConnectionError("the server closed a connection")
        self.answer += part
        head = self.answer.find(b"\r\n\r\n")
        if head < 0:
            return False
        start = self.answer.index(b"content-length: ") + len(b"content-length: ")
        length = int(self.answer[start : self.answer.index(b"\r", start)])
        return len(self.answer) == head + 4 + length


def _load(port: int, request: bytes, connections: int, seconds: float, posts: int) -> Sample:
    selector = selectors.DefaultSelector()
    clients = [Client(socket.create_connection(("127.0.0.1", port))) for _ in range(connections)]
    for client in clients:
        client.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(client.connection, selectors.EVENT_READ, client)
    begin = time.perf_counter()
    end = begin + seconds
    times: list[float] = []
    accepted = in_time = 0
    for client in clients:
        client.send(request, time.perf_counter())
    waiting = connections
    while waiting:
        ready = selector.select(STOP_SECONDS)
        if not ready:
            raise TimeoutError("the server stopped answering")
        for key, _ in ready:
            client = key.data
            if not client.receive():
                continue
            now = time.perf_counter()
            times.append(now - client.sent)
            accepted += client.answer.startswith(CREATED)
            in_time += now < end
            if now < end and len(times) + waiting <= posts:
                client.send(request, now)
            else:
                waiting -= 1
    took = min(time.perf_counter(), end) - begin
    times.sort()
    return Sample(
        per_second=in_time / took,
        p50_ms=times[len(times) // 2] * 1000,
        p99_ms=times[len(times) * 99 // 100] * 1000,
        accepted=accepted,
        refused=len(times) - accepted,
    )


if __name__ == "__main__":
    _port, _connections, _seconds, _posts = sys.argv[1:]
    _sample = _load(int(_port), sys.stdin.buffer.read(), int(_connections), float(_seconds), int(_posts))
    print(json.dumps(asdict(_sample)))
