"""The client for webhooks: whom it connects to, what it sends, how much it takes, and which connections it keeps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpcore
import pytest

from broker.errors import AddressRefused
from broker.net.client import post_client
from tests.integration.net.authority import Authority
from tests.integration.net.servers import Web, reply
from tests.integration.net.tcp import Behaviour
from tests.integration.receiver import read_post
from tests.integration.trap import Trap, says, until_left

if TYPE_CHECKING:
    from pathlib import Path

    from broker.net.addresses import Policy
    from tests.integration.net.servers import Names

CAP = 10
HEAD = b"HTTP/1.1 200 OK\r\n"
FINE = HEAD + b"Content-Length: 4\r\n\r\nfine"


def keeps(*answers: bytes) -> Behaviour:
    """Gives one answer after the other on a connection, which it keeps open."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await read_post(reader)
            writer.write(answer)
        await until_left(reader)

    return behave


async def test_a_post_is_sent_as_it_was_given(only_site: Policy, site: Web) -> None:
    site.answers["/a/b?c=%C3%B6"] = [reply(202, b"taken", {"Retry-After": "5"})]
    async with post_client(only_site, resolver=lambda host, port: [site.host]) as client:
        got = await client.post(f"http://hook.test:{site.port}/a/b?c=ö#d", {"X-Mine": "1", "accept": "a/b"}, b"{}", CAP)
    assert (got.status_code, got.body, got.headers["retry-after"]) == (202, b"taken", "5")
    headers = site.requests[0].headers
    assert (headers["host"], headers["x-mine"], headers["accept"]) == (f"hook.test:{site.port}", "1", "a/b")
    assert (headers["accept-encoding"], headers["content-length"]) == ("identity", "2")


async def test_a_rebound_name_is_looked_up_once_and_then_refused(
    only_site: Policy, site: Web, canary: Web, names: Names
) -> None:
    site.answers["/"] = [reply(200, b"fine")]
    names.answers["rebind.test"] = [[site.host], [canary.host]]
    async with post_client(only_site, resolver=names.resolver()) as client:
        assert (await client.post(site.url(host="rebind.test"), {}, b"", CAP)).body == b"fine"
        with pytest.raises(AddressRefused):
            await client.post(site.url(host="rebind.test"), {}, b"", CAP)
    assert (names.asked, canary.connections) == (["rebind.test"] * 2, 0)


async def test_the_certificate_is_that_of_the_name_while_the_address_is_the_checked_one(
    only_site: Policy, tmp_path: Path
) -> None:
    authority = Authority()
    async with (
        Trap(keeps(FINE, FINE)).listen(authority.server("hook.test", tmp_path)) as trap,
        post_client(only_site, resolver=lambda host, port: ["127.0.0.1"], ssl_context=authority.trust()) as client,
    ):
        for _ in range(2):
            assert (await client.post(trap.url("hook.test"), {}, b"", CAP)).body == b"fine"
        with pytest.raises(httpcore.ConnectError):
            await client.post(trap.url("other.test"), {}, b"", CAP)
        assert trap.connections == 1


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        pytest.param(FINE, b"fine", id="length"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nfi\r\n2\r\nne\r\n0\r\n\r\n", b"fine", id="chunks"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + FINE, b"fine", id="early hints"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", id="no content"),
    ],
)
async def test_a_connection_whose_answer_is_at_its_end_serves_the_next(
    only_site: Policy, answer: bytes, body: bytes
) -> None:
    async with Trap(keeps(answer, answer)).listen() as trap, post_client(only_site) as client:
        assert [(await client.post(trap.url(), {}, b"{}", CAP)).body for _ in range(2)] == [body] * 2
        assert trap.connections == 1


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        pytest.param(HEAD + b"Connection: close\r\nContent-Length: 4\r\n\r\nfine", b"fine", id="closing"),
        pytest.param(HEAD + b"Content-Length: 20\r\n\r\n" + b"x" * 20, b"x" * CAP, id="cut off"),
    ],
)
async def test_a_connection_that_is_of_no_more_use_is_closed(only_site: Policy, answer: bytes, body: bytes) -> None:
    async with Trap(keeps(answer)).listen() as trap, post_client(only_site) as client:
        assert [(await client.post(trap.url(), {}, b"", CAP)).body for _ in range(2)] == [body] * 2
        await trap.left()
        assert trap.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(FINE + HEAD + b"Webhook-Delivery: disable\r\n\r\n", id="another answer"),
        pytest.param(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\nWebhook-Delivery: disable\r\n\r\n",
            id="trailer",
        ),
    ],
)
async def test_what_comes_behind_the_head_of_an_answer_is_none_of_its_headers(only_site: Policy, answer: bytes) -> None:
    async with Trap(keeps(answer)).listen() as trap, post_client(only_site) as client:
        got = await client.post(trap.url(), {}, b"", CAP)
    assert (got.body, got.headers.get("webhook-delivery")) == (b"fine", None)


async def test_an_answer_may_end_with_its_connection_where_it_says_no_length(only_site: Policy) -> None:
    async with Trap(says(HEAD + b"\r\nfine")).listen() as trap, post_client(only_site) as client:
        assert (await client.post(trap.url(), {}, b"", CAP)).body == b"fine"


async def test_an_answer_before_the_whole_request_is_read_costs_the_connection(only_site: Policy) -> None:
    async def hurries(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(FINE)
        await asyncio.Event().wait()

    async with Trap(hurries).listen() as trap, post_client(only_site) as client:
        for _ in range(2):
            async with asyncio.timeout(20):
                assert (await client.post(trap.url(), {}, bytes(20_000_000), CAP)).body == b"fine"
        assert trap.connections == 2


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "a\rb", "a\0b", "ö"])
async def test_a_header_that_would_not_end_at_its_end_is_not_sent(only_site: Policy, value: str) -> None:
    async with Trap(keeps(FINE)).listen() as trap, post_client(only_site) as client:
        with pytest.raises(ValueError, match=r"header|ascii"):
            await client.post(trap.url(), {"X-Mine": value}, b"", CAP)
        assert trap.connections == 0


async def test_who_gives_up_leaves_no_connection_behind(only_site: Policy) -> None:
    async with Trap(keeps(b"")).listen() as trap, post_client(only_site, connections=1) as client:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.post(trap.url(), {}, b"", CAP)
            await trap.left()
