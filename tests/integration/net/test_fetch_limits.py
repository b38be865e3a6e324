"""Downloads that do not end: endless, slow and exploding answers are cut."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

import pytest

from handlers.contract import RecordError
from tests.integration.net.servers import redirect, reply, stall

if TYPE_CHECKING:
    from tests.integration.net.conftest import MakeFetcher
    from tests.integration.net.servers import Web, Writing

CAP = 100_000
TOO_LARGE = (413, f"The image file is larger than {CAP} bytes.")
TOO_SLOW = (502, "The image could not be downloaded: its server took too long.")


async def told(make_fetcher: MakeFetcher, url: str, *, timeout: float = 30.0) -> tuple[int, str]:
    """How a download ends. A minute is far beyond every limit here: it only keeps a failure from lasting for ever."""
    async with asyncio.timeout(60):
        with pytest.raises(RecordError) as caught:
            await make_fetcher(max_bytes=CAP, timeout=timeout).fetch(url)
    return caught.value.code, caught.value.text


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        writer.write(bytes(10_000))
        await writer.drain()


async def endless_chunks(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"2710\r\n" + bytes(10_000) + b"\r\n")
        await writer.drain()


async def endless_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"a" * 1000 + b"\r\n")
        await writer.drain()


async def dripping_body(writer: asyncio.StreamWriter) -> None:
    writer.write(reply(200, b"", {"Content-Length": "50000"}))
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def dripping_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def continuing(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def announced(writer: asyncio.StreamWriter) -> None:
    writer.write(reply(200, b"", {"Content-Length": str(CAP + 1)}))
    await stall(writer)


@pytest.mark.parametrize("answer", [endless, endless_chunks])
async def test_an_endless_body_is_cut_and_its_connection_closed(
    answer: Writing, make_fetcher: MakeFetcher, site: Web
) -> None:
    site.answers["/"] = [answer]
    assert await told(make_fetcher, site.url()) == TOO_LARGE
    async with asyncio.timeout(30):
        await site.broken.wait()
    assert site.hits("/") == 1


async def test_a_length_over_the_cap_is_refused_before_the_body(make_fetcher: MakeFetcher, site: Web) -> None:
    site.answers["/"] = [announced]
    assert await told(make_fetcher, site.url()) == TOO_LARGE
    assert site.hits("/") == 1


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_the_cap_is_the_largest_file_that_is_taken(coding: str, make_fetcher: MakeFetcher, site: Web) -> None:
    def coded(size: int) -> bytes:
        body = bytes(size)
        return reply(200, gzip.compress(body) if coding == "gzip" else body, {"Content-Encoding": coding})

    site.answers["/fits"] = [coded(CAP)]
    site.answers["/larger"] = [coded(CAP + 1)]
    assert await make_fetcher(max_bytes=CAP).fetch(site.url("/fits")) == bytes(CAP)
    assert await told(make_fetcher, site.url("/larger")) == TOO_LARGE


async def test_a_gzip_bomb_is_refused(make_fetcher: MakeFetcher, site: Web) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < CAP
    site.answers["/"] = [reply(200, bomb, {"Content-Encoding": "gzip"})]
    assert await told(make_fetcher, site.url()) == TOO_LARGE


async def test_endless_headers_are_cut(make_fetcher: MakeFetcher, site: Web) -> None:
    site.answers["/"] = [endless_headers]
    assert await told(make_fetcher, site.url()) == (
        502,
        "The image could not be downloaded: its server broke off the connection.",
    )


@pytest.mark.parametrize("answer", [dripping_body, dripping_head, continuing, stall])
async def test_an_answer_that_drips_is_cut_by_the_total_deadline(
    answer: Writing, make_fetcher: MakeFetcher, site: Web
) -> None:
    site.answers["/"] = [answer]
    assert await told(make_fetcher, site.url(), timeout=0.3) == TOO_SLOW
    assert site.hits("/") == 3


async def test_the_deadline_spans_redirects(make_fetcher: MakeFetcher, site: Web) -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.4)
        writer.write(redirect(f"/{site.requests[-1].target.count('x') * 'x'}x"))

    for hop in range(4):
        site.answers["/" + "x" * hop] = [slowly]
    site.answers["/xxxx"] = [reply(200, b"an image")]
    assert await make_fetcher(timeout=30.0).fetch(site.url()) == b"an image"
    assert await told(make_fetcher, site.url(), timeout=1.0) == TOO_SLOW


async def test_downloads_go_on_after_many_were_cut(make_fetcher: MakeFetcher, site: Web) -> None:
    site.answers["/slow"] = [stall]
    site.answers["/"] = [reply(200, b"an image")]
    fetcher = make_fetcher(timeout=0.5)
    outcomes = await asyncio.gather(*(fetcher.fetch(site.url("/slow")) for _ in range(40)), return_exceptions=True)
    assert all(isinstance(outcome, RecordError) for outcome in outcomes)
    assert await fetcher.fetch(site.url()) == b"an image"
