"""Real servers for tests of outgoing HTTP: one that says what it is told to, and one that answers names."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import dnslib

from tests.integration.net.tcp import listening

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from broker.net.connect import Resolver

Writing: TypeAlias = Callable[[asyncio.StreamWriter], Awaitable[None]]
Answer: TypeAlias = bytes | Writing


def reply(status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """A whole response; `headers` come on top of Content-Length and may replace it."""
    lines = {"Content-Length": str(len(body)), "Connection": "close", **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Status\r\n{head}\r\n".encode("latin-1") + body


def redirect(location: str, status: int = 302) -> bytes:
    return reply(status, b"elsewhere", {"Location": location})


async def stall(_: asyncio.StreamWriter) -> None:
    """Say nothing until the client goes away or the server stops."""
    await asyncio.Event().wait()


@asynccontextmanager
async def not_heard() -> AsyncIterator[int]:
    """A port of 127.0.0.1 that refuses connections and that nobody else gets meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@dataclass
class Request:
    target: str
    headers: dict[str, str]


@dataclass
class Web:
    """An HTTP/1.1 server. `answers[target]` are given in turn, the last one for ever; other targets get a 404.

    connections: how many were opened, whether or not they asked for anything. broken: set once a client hung up
    on an answer.
    """

    host: str = ""
    port: int = 0
    scheme: str = "http"
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    broken: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, target: str = "/", host: str | None = None) -> str:
        host = host or self.host
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{target}"

    def hits(self, target: str) -> int:
        return sum(request.target == target for request in self.requests)

    @asynccontextmanager
    async def listen(self, host: str, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Web]:
        async with listening(self._serve, host, port, tls=tls) as listener:
            self.host, self.port = listener.host, listener.port
            self.scheme = "https" if tls else "http"
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            fields = (line.partition(":") for line in lines)
            request = Request(first.split(" ")[1], {name.lower(): value.strip() for name, _, value in fields})
            self.requests.append(request)
            await self._answer(request, writer)
        except ConnectionError:
            self.broken.set()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        answers = self.answers.get(request.target, [reply(404)])
        answer = answers[min(self.hits(request.target), len(answers)) - 1]
        if callable(answer):
            await answer(writer)
        else:
            writer.write(answer)
        await writer.drain()


@dataclass
class Names(asyncio.DatagramProtocol):
    """A DNS server on 127.0.0.1. `answers[name]` are the addresses given in turn, the last ones for ever."""

    answers: dict[str, list[list[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    port: int = 0
    _transport: asyncio.DatagramTransport | None = None

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[Names]:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]
        try:
            yield self
        finally:
            transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        question = dnslib.DNSRecord.parse(data)
        name = str(question.q.qname).rstrip(".")
        self.asked.append(name)
        answers = self.answers.get(name, [[]])
        answer = question.reply()
        for address in answers[min(self.asked.count(name), len(answers)) - 1]:
            kind, rdata = ("AAAA", dnslib.AAAA) if ":" in address else ("A", dnslib.A)
            answer.add_answer(dnslib.RR(name, getattr(dnslib.QTYPE, kind), rdata=rdata(address), ttl=0))
        assert self._transport is not None
        self._transport.sendto(answer.pack(), addr)

    def resolver(self) -> Resolver:
        """What asks this server, over UDP, once a call."""

        def ask(host: str, _: int) -> list[str]:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.settimeout(10)
                asking.sendto(dnslib.DNSRecord.question(host).pack(), ("127.0.0.1", self.port))
                answer = dnslib.DNSRecord.parse(asking.recv(4096))
            return [str(record.rdata) for record in answer.rr]

        return ask
