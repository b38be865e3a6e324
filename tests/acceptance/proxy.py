"""A bad road to a broker: a proxy that loses answers, or answers itself, as it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx

CUT = 0
"""Instead of a status: the request arrives, its answer is lost."""


@dataclass
class Proxy:
    """`faults` befall the first requests: CUT, or a status that is answered with `retry_after`; then all passes.

    keys, bodies: of all requests, in their order. answers: of the broker, the lost ones too.
    """

    url: str
    faults: list[int]
    retry_after: int
    keys: list[str | None] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)


@contextmanager
def proxying(to: str, *faults: int, retry_after: int = 0) -> Iterator[Proxy]:
    """A proxy on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            proxy.keys.append(self.headers["Idempotency-Key"])
            proxy.bodies.append(body)
            fault = proxy.faults.pop(0) if proxy.faults else None
            if fault:
                self._answer(fault, b'{"detail":"later"}')
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = httpx.post(
                to + self.path, content=body, headers=headers, timeout=60, trust_env=False, verify=False
            )
            proxy.answers.append(answer.content)
            if fault is None:
                self._answer(answer.status_code, answer.content)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Retry-After", str(proxy.retry_after))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        proxy = Proxy(f"http://127.0.0.1:{server.server_address[1]}", list(faults), retry_after)
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
