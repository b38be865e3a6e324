"""The guarded client over real sockets: where it connects, what it sends, how it fails."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import httpcore
import httpx
import pytest

from broker.errors import AddressRefused
from broker.net.addresses import Policy
from broker.net.body import read_up_to
from broker.net.connect import LOOKUP_THREADS, LOOKUPS_A_DOMAIN, system_resolver
from broker.net.guard import CONNECTIONS, GuardedBackend, guarded_client
from broker.net.stream import HEAD_BYTES
from tests.integration.net.servers import Web, not_heard, redirect, reply, stall
from tests.integration.net.stalling import Stalling
from tests.integration.receiver import read_post
from tests.integration.trap import Trap, repeats, reset, until_left

if TYPE_CHECKING:
    from broker.net.connect import Resolver
    from tests.integration.net.servers import Writing


def unknown(host: str, port: int) -> list[str]:
    raise OSError(f"{host}:{port} is not known")


async def test_host_header_stays_the_name_and_nothing_odd_is_sent(only_site: Policy, site: Web) -> None:
    site.answers["/a?b=c"] = [reply()]
    async with guarded_client(only_site, resolver=lambda host, port: [site.host]) as client:
        await client.get(site.url("/a?b=c#d", host="hook.test"))
    assert site.requests[0].headers == {
        "host": f"hook.test:{site.port}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "keep-alive",
        "user-agent": "image-broker",
    }


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_proxies_of_the_environment_are_ignored(
    name: str, monkeypatch: pytest.MonkeyPatch, only_site: Policy, site: Web, canary: Web
) -> None:
    monkeypatch.setenv(name, canary.url())
    site.answers["/"] = [reply(200, b"direct")]
    async with guarded_client(only_site) as client:
        assert (await client.get(site.url())).content == b"direct"
    assert canary.connections == 0


async def test_cookies_of_one_answer_are_not_sent_with_the_next_request(only_site: Policy, site: Web) -> None:
    site.answers["/"] = [reply(200, b"", {"Set-Cookie": "tenant=1; Path=/"})]
    async with guarded_client(only_site) as client:
        await client.get(site.url())
        await client.get(site.url())
    assert [request.headers.get("cookie") for request in site.requests] == [None, None]


@pytest.mark.parametrize("location", ["/next", "http://xn--zzzz---/", "http://[::1/", "http:///", "ftp://a/"])
async def test_a_redirect_is_an_answer_like_any_other_even_with_a_broken_target(
    location: str, only_site: Policy, site: Web
) -> None:
    site.answers["/"] = [redirect(location, 307)]
    async with guarded_client(only_site) as client:
        answer = await client.get(site.url())
    assert (answer.status_code, answer.headers["location"]) == (307, location)
    assert len(site.requests) == 1


async def test_refusals_do_not_use_up_the_pool(only_site: Policy, site: Web, canary: Web) -> None:
    site.answers["/"] = [reply(200, b"fine")]
    async with guarded_client(only_site) as client:
        for _ in range(CONNECTIONS + 1):
            with pytest.raises(AddressRefused):
                await client.get(canary.url())
        assert (await client.get(site.url())).content == b"fine"
    assert canary.connections == 0


async def test_a_port_that_is_not_allowed_is_refused_at_a_public_address() -> None:
    async with guarded_client(Policy(ports=frozenset({80}))) as client:
        with pytest.raises(AddressRefused):
            await client.get("http://8.8.8.8:81/")


@pytest.mark.parametrize(("dead", "reached"), [(0, True), (1, True), (2, True), (3, False)])
async def test_the_next_address_is_tried_when_one_refuses_up_to_the_third(
    dead: int, reached: bool, only_site: Policy, other_loopback: str
) -> None:
    both = Policy((*only_site.networks, ip_network(other_loopback)))
    async with (
        not_heard() as port,
        Web(answers={"/": [reply(200, b"found")]}).listen(other_loopback, port) as web,
    ):
        answers = ["127.0.0.1"] * dead + [web.host]
        async with guarded_client(both, resolver=lambda host, port: answers) as client:
            if reached:
                assert (await client.get(web.url(host="many.test"))).content == b"found"
            else:
                with pytest.raises(httpx.ConnectError):
                    await client.get(web.url(host="many.test"))


async def test_a_stalled_lookup_stops_neither_other_lookups_nor_other_threads(only_site: Policy, site: Web) -> None:
    site.answers["/"] = [reply(200, b"fine")]
    resolver = Stalling(site.host)
    urls = [site.url(host=f"evil-{number}.test") for number in range(50)]
    async with (
        guarded_client(only_site, resolver=resolver) as client,
        resolver.stalled(map(client.get, urls)) as tasks,
    ):
        assert (await client.get(site.url(host="quick.test"))).content == b"fine"
        assert await asyncio.to_thread(lambda: "still free") == "still free"
        assert not any(task.done() for task in tasks)


@pytest.mark.parametrize("suffix", ["test", "co.uk", "com.au", "github.io", "xn--55qx5d.cn"])
async def test_a_domain_whose_lookups_stall_delays_only_itself(suffix: str, only_site: Policy, site: Web) -> None:
    """A domain is what somebody registers, be it under a country's or a company's names."""
    site.answers["/"] = [reply(200, b"fine")]
    resolver = Stalling(site.host)
    urls = [site.url(host=f"{label}.evil.{suffix}") for label in range(LOOKUPS_A_DOMAIN)]
    async with guarded_client(only_site, resolver=resolver) as client:
        async with resolver.stalled(map(client.get, urls)):
            more = asyncio.create_task(client.get(site.url(host=f"more.EVIL.{suffix}.")))
            assert (await client.get(site.url(host=f"hooks.shop.{suffix}"))).content == b"fine"
            assert resolver.asked[LOOKUPS_A_DOMAIN:] == [f"hooks.shop.{suffix}"]
        assert (await more).content == b"fine"


async def test_a_domain_keeps_its_share_of_threads_until_its_lookups_end_and_others_wait_for_them(
    only_site: Policy, site: Web
) -> None:
    site.answers["/"] = [reply(200, b"fine")]
    resolver = Stalling(site.host)
    urls = [site.url(host=f"{label}.evil.test") for label in range(LOOKUPS_A_DOMAIN)]
    async with guarded_client(only_site, resolver=resolver) as client:
        async with resolver.stalled(map(client.get, urls)) as tasks:
            with pytest.raises(httpx.PoolTimeout):  # not the name's fault: it was not asked for
                await client.get(site.url(host="late.evil.test"))
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {httpx.ConnectTimeout}
            late = asyncio.create_task(client.get(site.url(host="later.evil.test")))
            assert (await client.get(site.url(host="quick.test"))).content == b"fine"
            assert resolver.asked[LOOKUPS_A_DOMAIN:] == ["quick.test"]
        assert (await late).content == b"fine"


async def test_a_lookup_for_which_no_thread_is_free_is_not_the_name_s_fault(only_site: Policy, site: Web) -> None:
    site.answers["/"] = [reply(200, b"fine")]
    resolver = Stalling(site.host)
    hosts = [f"a.evil-{label % (LOOKUP_THREADS // LOOKUPS_A_DOMAIN)}.test" for label in range(LOOKUP_THREADS)]
    urls = [site.url(host=host) for host in hosts]
    async with guarded_client(only_site, resolver=resolver, connections=LOOKUP_THREADS * 2) as client:
        async with resolver.stalled(map(client.get, urls)):
            with pytest.raises(httpx.PoolTimeout):
                await client.get(site.url(host="late.test"))
        assert (await client.get(site.url(host="late.test"))).content == b"fine"


async def test_an_open_host_leads_to_a_private_address_and_no_other_does(site: Web) -> None:
    site.answers["/"] = [reply(200, b"fine")]
    policy = Policy(hosts=frozenset({"minio.internal"}))
    async with guarded_client(policy, resolver=lambda host, port: [site.host]) as client:
        assert (await client.get(site.url(host="minio.internal"))).content == b"fine"
        with pytest.raises(AddressRefused):
            await client.get(site.url(host="other.internal"))
    assert site.connections == 1


async def test_an_open_host_does_not_lead_to_metadata() -> None:
    policy = Policy(hosts=frozenset({"minio.internal"}))
    async with guarded_client(policy, resolver=lambda host, port: ["10.0.0.1", "169.254.169.254"]) as client:
        with pytest.raises(AddressRefused):
            await client.get("http://minio.internal/")


async def test_a_lookup_that_takes_too_long_is_a_connect_timeout(only_site: Policy) -> None:
    release = threading.Event()

    def resolver(host: str, port: int) -> list[str]:
        release.wait(60)
        return []

    try:
        async with guarded_client(only_site, resolver=resolver) as client:
            with pytest.raises(httpx.ConnectTimeout, match="not found in time"):
                await client.get("http://stalled.test/")
    finally:
        release.set()


@pytest.mark.parametrize("resolver", [unknown, lambda host, port: []], ids=["unknown", "no address"])
async def test_a_name_without_address_is_a_connect_error(resolver: Resolver, only_site: Policy) -> None:
    async with guarded_client(only_site, resolver=resolver) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("http://nowhere.test/")


async def test_a_name_that_no_lookup_takes_is_a_connect_error(only_site: Policy) -> None:
    async with guarded_client(only_site) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("http://" + "a" * 64 + ".test/")


async def cut_short(writer: asyncio.StreamWriter) -> None:
    writer.write(reply(200, b"half", {"Content-Length": "8"}))


async def nonsense(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")


async def silence(writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize("answer", [cut_short, nonsense, silence])
async def test_broken_answers_are_protocol_errors_of_httpx(answer: Writing, only_site: Policy, site: Web) -> None:
    site.answers["/"] = [answer]
    async with guarded_client(only_site) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(site.url())


async def test_a_read_timeout_is_that_of_httpx(only_site: Policy, site: Web) -> None:
    site.answers["/"] = [stall]
    async with guarded_client(only_site) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get(site.url(), timeout=0.1)


async def test_leaving_a_body_unread_hangs_up(only_site: Policy, site: Web) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(reply(200, b"", {"Content-Length": str(10**12)}))
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    site.answers["/"] = [endless]
    async with guarded_client(only_site) as client:
        async with client.stream("GET", site.url()) as response:
            assert await read_up_to(response, 1000) == bytes(1000)
        async with asyncio.timeout(30):
            await site.broken.wait()


async def test_a_tls_handshake_that_is_cut_off_hangs_up(only_site: Policy) -> None:
    async def says_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await until_left(reader)

    async with Trap(says_nothing, "https").listen() as trap, guarded_client(only_site) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.get(trap.url())
        await trap.left()
    assert trap.connections == 1


async def test_interim_answers_without_an_end_are_a_protocol_error(only_site: Policy) -> None:
    endless = repeats(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)
    async with Trap(endless).listen() as trap, guarded_client(only_site) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            async with asyncio.timeout(20):
                await client.post(trap.url())
        await trap.left()


async def test_what_answers_on_one_connection_take_together_is_not_bounded(only_site: Policy) -> None:
    """Neither many heads nor a body count against what may come before one body."""

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_post(reader)
            field = {"Connection": "keep-alive", "X-Long": "x" * (HEAD_BYTES // 2)}
            writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" + reply(200, bytes(HEAD_BYTES), field))

    async with Trap(answers).listen() as trap, guarded_client(only_site) as client:
        for _ in range(4):
            assert len((await client.post(trap.url())).content) == HEAD_BYTES
    assert trap.connections == 1


async def test_unix_sockets_are_refused(only_site: Policy) -> None:
    backend = GuardedBackend(only_site, unknown)
    with pytest.raises(AddressRefused):
        await backend.connect_unix_socket("/run/docker.sock")
    backend.close()


class Astray(httpcore.AnyIOBackend):
    """Connects to another address than it was given."""

    def __init__(self, host: str) -> None:
        self.host = host

    async def connect_tcp(self, host: str, *to: Any, **how: Any) -> httpcore.AsyncNetworkStream:
        return await super().connect_tcp(self.host, *to, **how)


class TooLate(httpcore.AnyIOBackend):
    """Hands a connection on once its other end has broken it off."""

    async def connect_tcp(self, *to: Any, **how: Any) -> httpcore.AsyncNetworkStream:
        stream = await super().connect_tcp(*to, **how)
        with suppress(OSError):
            while stream.get_extra_info("socket").getpeername():
                await asyncio.sleep(0.01)
        return stream


async def test_a_connection_that_is_broken_off_at_once_is_a_connect_error(only_site: Policy) -> None:
    async def resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    backend = GuardedBackend(only_site, system_resolver, TooLate())
    async with Trap(resets).listen() as trap:
        with pytest.raises(httpcore.ConnectError):
            await backend.connect_tcp("127.0.0.1", trap.port)
    backend.close()


async def test_a_connection_that_ended_up_elsewhere_is_refused(only_site: Policy, site: Web, canary: Web) -> None:
    backend = GuardedBackend(only_site, lambda host, port: [site.host], Astray(canary.host))
    with pytest.raises(AddressRefused):
        await backend.connect_tcp("site.test", site.port)
    backend.close()
    assert canary.requests == []
