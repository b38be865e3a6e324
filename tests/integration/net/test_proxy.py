"""The guard proxy over real sockets: whom it serves, where it leads, and how its exchanges end."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from broker.net.addresses import Policy
from broker.net.connect import LOOKUPS_A_DOMAIN
from broker.net.proxy import MAX_HEAD, Limits, guard_proxy
from tests.integration.net.servers import not_heard, reply, stall
from tests.integration.net.stalling import Stalling

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.integration.net.servers import Answer, Web

FOREVER = 60  # seconds; far beyond every limit here, only keeps a failure from lasting for ever


@dataclass
class Client:
    """Speaks to a proxy as it is told to."""

    proxy: str

    @property
    def key(self) -> str:
        parts = urlsplit(self.proxy)
        return f"Proxy-Authorization: Basic {b64encode(f'{parts.username}:{parts.password}'.encode()).decode()}\r\n"

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.proxy)
        return await asyncio.open_connection(parts.hostname, parts.port)

    async def say(self, sent: bytes) -> bytes:
        """All that is answered until the proxy ends the connection."""
        reader, writer = await self.open()
        async with asyncio.timeout(FOREVER):
            writer.write(sent)
            heard = await reader.read()
        writer.close()
        await writer.wait_closed()
        return heard

    async def get(self, url: str, fields: str = "") -> bytes:
        return await self.say(self.request(url, fields))

    def request(self, url: str, fields: str = "", method: str = "GET") -> bytes:
        return f"{method} {url} HTTP/1.1\r\n{self.key}{fields}\r\n".encode("latin-1")

    @asynccontextmanager
    async def tunnel(self, authority: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await self.open()
        try:
            writer.write(self.request(authority, method="CONNECT"))
            async with asyncio.timeout(FOREVER):
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 Connection established\r\n\r\n"
                yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def own(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode("ascii")


def status(heard: bytes) -> int:
    return int(heard.split(b" ", 2)[1])


@asynccontextmanager
async def origin(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A TCP server on 127.0.0.1 that talks to one client."""
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()
            served.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
        async with asyncio.timeout(FOREVER):
            await served.wait()
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def client(only_site: Policy) -> AsyncIterator[Client]:
    async with guard_proxy(only_site, resolver=lambda host, port: ["127.0.0.1"]) as url:
        yield Client(url)


async def test_the_absolute_form_gets_one_answer_and_the_end(client: Client, site: Web) -> None:
    site.answers["/a?b=c"] = [reply(200, b"fine", {"Connection": "keep-alive", "Keep-Alive": "5"})]
    heard = await client.get(site.url("/a?b=c", host="s3.test"), "X-A: 1\r\nConnection: keep-alive\r\n")
    assert heard == b"HTTP/1.1 200 Status\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine"
    assert site.requests[0].headers == {"host": f"s3.test:{site.port}", "x-a": "1", "connection": "close"}


async def test_the_secret_is_another_for_every_proxy(only_site: Policy) -> None:
    async with guard_proxy(only_site) as one, guard_proxy(only_site) as other:
        assert urlsplit(one).password != urlsplit(other).password
        assert len(urlsplit(one).password or "") >= 40


@pytest.mark.parametrize("key", ["", f"Proxy-Authorization: Basic {b64encode(b'x:guess').decode()}\r\n"])
@pytest.mark.parametrize("connect", [True, False])
async def test_without_the_secret_nobody_is_connected(key: str, connect: bool, client: Client, site: Web) -> None:
    line = f"CONNECT 127.0.0.1:{site.port} HTTP/1.1" if connect else f"GET {site.url()} HTTP/1.1"
    heard = await client.say(f"{line}\r\n{key}\r\n".encode("ascii"))
    assert heard.startswith(b"HTTP/1.1 407 Proxy Authentication Required\r\n")
    assert b'\r\nProxy-Authenticate: Basic realm="guard"\r\n' in heard
    assert site.connections == 0


async def test_the_secret_of_another_proxy_is_wrong(client: Client, only_site: Policy, site: Web) -> None:
    async with guard_proxy(only_site) as other:
        assert status(await client.say(Client(other).request(site.url()))) == 407
    assert site.connections == 0


@pytest.mark.parametrize("connect", [True, False])
async def test_a_refused_address_is_a_403_that_does_not_name_it(
    connect: bool, only_site: Policy, site: Web, canary: Web
) -> None:
    async with guard_proxy(only_site, resolver=lambda host, port: [site.host, canary.host]) as url:
        client = Client(url)
        sent = client.request(f"s3.test:{site.port}", method="CONNECT") if connect else client.request(site.url())
        assert await client.say(sent) == own("403 Forbidden")
    assert (site.connections, canary.connections) == (0, 0)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "localhost.", "[::ffff:127.0.0.1]", "169.254.169.254"])
async def test_odd_spellings_lead_nowhere(host: str, canary: Web) -> None:
    async with guard_proxy(Policy(ports=frozenset({canary.port}))) as url:
        client = Client(url)
        connected = status(await client.say(client.request(f"{host}:{canary.port}", method="CONNECT")))
        fetched = status(await client.get(f"http://{host}:{canary.port}/"))
    assert connected == fetched
    assert fetched == 403 or host == "localhost."  # which some systems do not know
    assert canary.connections == 0


@pytest.mark.parametrize("connect", [True, False])
async def test_an_origin_that_does_not_listen_is_a_502(connect: bool, client: Client) -> None:
    async with not_heard() as port:
        target, method = (f"s3.test:{port}", "CONNECT") if connect else (f"http://s3.test:{port}/", "GET")
        assert await client.say(client.request(target, method=method)) == own("502 Bad Gateway")


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-A", b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * MAX_HEAD],
    ids=["nothing", "no HTTP", "cut head", "endless head"],
)
async def test_an_answer_that_is_none_is_a_502(answer: Answer, client: Client, site: Web) -> None:
    site.answers["/"] = [answer]
    assert await client.get(site.url()) == own("502 Bad Gateway")


async def test_an_origin_that_says_nothing_is_a_504(only_site: Policy, site: Web) -> None:
    site.answers["/"] = [stall]
    async with guard_proxy(only_site, limits=Limits(idle=0.2)) as url:
        assert await Client(url).get(site.url()) == own("504 Gateway Timeout")


async def test_a_name_whose_lookup_has_no_turn_is_a_503(only_site: Policy) -> None:
    resolver = Stalling()
    async with (
        guard_proxy(only_site, resolver=resolver) as url,
        resolver.stalled(Client(url).get(f"http://{label}.evil.test/") for label in range(LOOKUPS_A_DOMAIN)),
    ):
        assert await Client(url).get("http://late.evil.test/") == own("503 Service Unavailable")


async def test_a_head_that_drips_is_a_504(only_site: Policy, site: Web) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-A: ")
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.01)

    site.answers["/"] = [drip]
    async with guard_proxy(only_site, limits=Limits(idle=0.3)) as url:
        assert await Client(url).get(site.url()) == own("504 Gateway Timeout")


@pytest.mark.parametrize("limits", [Limits(total=0.5), Limits(idle=0.3)], ids=["drips", "stops"])
async def test_a_body_that_does_not_end_is_cut_with_a_reset(limits: Limits, only_site: Policy, site: Web) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while limits.total < 1:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.01)
        await stall(writer)

    site.answers["/"] = [endless]
    async with guard_proxy(only_site, limits=limits) as url:
        with pytest.raises(ConnectionResetError):
            await Client(url).get(site.url())


async def test_a_request_that_does_not_come_is_a_408(only_site: Policy) -> None:
    async with guard_proxy(only_site, limits=Limits(head=0.2)) as url:
        assert await Client(url).say(b"GET http://s3.test/ HTTP/1.1\r\n") == own("408 Request Timeout")


async def test_a_huge_head_is_a_431(client: Client, site: Web) -> None:
    heard = await client.get(site.url(), f"X-A: {'a' * MAX_HEAD}\r\n")
    assert heard == own("431 Request Header Fields Too Large")
    assert site.connections == 0


@pytest.mark.parametrize("sent", [b"\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
async def test_nonsense_is_a_400(sent: bytes, client: Client) -> None:
    assert status(await client.say(sent)) in {400, 407}
    assert await client.say(client.request("/")) == own("400 Bad Request")


async def test_a_client_that_hangs_up_within_its_head_is_answered_nothing_it_could_mistake(client: Client) -> None:
    reader, writer = await client.open()
    writer.write(b"GET http://s3.test/ HT")
    writer.write_eof()
    assert await reader.read() == own("400 Bad Request")
    writer.close()


async def test_a_second_request_on_the_connection_goes_to_nobody(client: Client, site: Web, canary: Web) -> None:
    site.answers["/"] = [reply(200, b"fine", {"Connection": "keep-alive"})]
    site.answers["/put"] = [reply(200, b"put")]
    first = client.request(site.url("/put"), "Content-Length: 3\r\n", method="PUT") + b"abc"
    heard = await client.say(first + client.request(canary.url()) + client.request(site.url()))
    assert heard.endswith(b"\r\n\r\nput")
    assert heard.count(b"HTTP/1.1") == 1
    assert [asked.target for asked in site.requests] == ["/put"]
    assert (site.connections, canary.connections) == (1, 0)


async def test_no_byte_after_the_request_reaches_the_origin(client: Client) -> None:
    got = b""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        got = await reader.read()  # the client's end is passed on
        writer.write(reply(200, b"late"))
        await writer.drain()

    async with origin(talk) as port:
        reader, writer = await client.open()
        request = client.request(f"http://s3.test:{port}/", "Content-Length: 3\r\n", method="PUT")
        writer.write(request + b"abc" + b"GET /smuggled HTTP/1.1\r\n\r\n")
        writer.write_eof()
        async with asyncio.timeout(FOREVER):
            heard = await reader.read()
        writer.close()
    assert got.endswith(b"\r\n\r\nabc")
    assert heard.endswith(b"\r\n\r\nlate")


async def test_interim_answers_are_passed_on(client: Client, site: Web) -> None:
    site.answers["/"] = [b"HTTP/1.1 100 Continue\r\n\r\n" + reply(200, b"fine")]
    heard = await client.get(site.url(), "Expect: 100-continue\r\n")
    assert heard.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Status\r\n")
    assert site.requests[0].headers["expect"] == "100-continue"


async def test_a_tunnel_passes_bytes_and_ends_both_ways(client: Client) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"first to speak;")
        said = await reader.read()
        writer.write(said[::-1])
        await writer.drain()

    async with origin(talk) as port, client.tunnel(f"s3.test:{port}") as (reader, writer):
        writer.write(b"abc" * 100_000)
        writer.write_eof()
        assert await reader.read() == b"first to speak;" + b"cba" * 100_000


async def test_a_tunnel_whose_origin_ends_first_still_takes_all_the_client_sends(client: Client) -> None:
    got = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        writer.write_eof()
        await asyncio.sleep(0.5)  # most of it is still on its way when the client ends
        got = len(await reader.read())

    async with origin(talk) as port, client.tunnel(f"s3.test:{port}") as (reader, writer):
        assert await reader.read() == b""
        writer.write(bytes(5_000_000))
        await writer.drain()
    assert got == 5_000_000


async def test_a_client_that_hangs_up_ends_its_tunnel(client: Client) -> None:
    ended = False

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal ended
        ended = await reader.read() == b""

    async with origin(talk) as port, client.tunnel(f"s3.test:{port}"):
        pass
    assert ended


async def test_a_client_that_hangs_up_ends_its_download(client: Client, site: Web) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    site.answers["/"] = [endless]
    reader, writer = await client.open()
    writer.write(client.request(site.url()))
    await reader.readexactly(100)
    writer.transport.abort()
    async with asyncio.timeout(FOREVER):
        await site.broken.wait()


async def test_a_client_that_does_not_read_holds_the_origin_back(client: Client, site: Web) -> None:
    written = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while written < 500_000_000:
            writer.write(bytes(65536))
            await writer.drain()
            written += 65536

    site.answers["/"] = [endless]
    _, writer = await client.open()
    writer.write(client.request(site.url()))
    before = -1
    async with asyncio.timeout(FOREVER):
        while written == 0 or written != before:
            before = written
            await asyncio.sleep(0.5)
    assert written < 100_000_000
    writer.transport.abort()


async def test_a_quiet_tunnel_is_cut(only_site: Policy) -> None:
    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        with pytest.raises(ConnectionResetError):
            await reader.read()

    async with (
        guard_proxy(only_site, limits=Limits(idle=0.2)) as url,
        origin(talk) as port,
        Client(url).tunnel(f"127.0.0.1:{port}") as (reader, _),
    ):
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_closing_the_proxy_ends_all_it_has_open(only_site: Policy, site: Web) -> None:
    site.answers["/"] = [stall]
    async with guard_proxy(only_site) as url:
        client = Client(url)
        reader, writer = await client.open()
        writer.write(client.request(site.url()))
        async with asyncio.timeout(FOREVER):
            while not site.requests:
                await asyncio.sleep(0.01)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    with pytest.raises(ConnectionRefusedError):
        await client.open()
    writer.close()
