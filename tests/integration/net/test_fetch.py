"""Downloads: what is an image file, what is tried again, and what a customer is told."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import TYPE_CHECKING

import pytest

from broker.media.fetch import CONCURRENCY, TRIES
from broker.net.connect import LOOKUPS_A_DOMAIN, TURN_SECONDS
from handlers.contract import RecordError
from tests.integration.net.servers import Answer, Web, not_heard, reply, stall
from tests.integration.net.stalling import Stalling

if TYPE_CHECKING:
    from broker.media.fetch import Fetcher
    from tests.integration.net.conftest import MakeFetcher

IMAGE = bytes(range(256)) * 100


async def refusal(fetcher: Fetcher, url: str) -> tuple[int, str]:
    with pytest.raises(RecordError) as caught:
        await fetcher.fetch(url)
    assert "127.0.0" not in caught.value.text
    return caught.value.code, caught.value.text.removeprefix("The image could not be downloaded: ")


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def test_a_file_arrives_byte_for_byte(fetcher: Fetcher, site: Web) -> None:
    site.answers["/a.jpg?size=2"] = [reply(200, IMAGE)]
    assert await fetcher.fetch(site.url("/a.jpg?size=2#top")) == IMAGE


async def test_a_file_without_length_arrives(fetcher: Fetcher, site: Web) -> None:
    site.answers["/"] = [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + IMAGE]
    assert await fetcher.fetch(site.url()) == IMAGE


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(IMAGE, mtime=0)),
        ("GZIP", gzip.compress(IMAGE, mtime=0)),
        ("x-gzip", gzip.compress(IMAGE, mtime=0)),
        ("deflate", zlib.compress(IMAGE)),
        ("identity", IMAGE),
        ("", IMAGE),
    ],
    ids=["gzip", "GZIP", "x-gzip", "deflate", "identity", "empty"],
)
async def test_a_compressing_origin_gives_the_whole_file(coding: str, body: bytes, fetcher: Fetcher, site: Web) -> None:
    site.answers["/"] = [reply(200, body, {"Content-Encoding": coding})]
    assert await fetcher.fetch(site.url()) == IMAGE


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress"])
async def test_an_unknown_content_coding_is_refused(coding: str, fetcher: Fetcher, site: Web) -> None:
    site.answers["/"] = [reply(200, IMAGE, {"Content-Encoding": coding})]
    assert await refusal(fetcher, site.url()) == (415, "its server sends an unknown content encoding.")
    assert site.hits("/") == 1


async def test_damaged_compression_is_refused(fetcher: Fetcher, site: Web) -> None:
    site.answers["/"] = [reply(200, gzip.compress(IMAGE)[:-9], {"Content-Encoding": "gzip"})]
    assert await refusal(fetcher, site.url()) == (400, "its compression is damaged.")


@pytest.mark.parametrize(
    "answer",
    [
        reply(200),
        reply(204),
        reply(200, b"", {"Content-Encoding": "gzip"}),
        reply(200, gzip.compress(b"", mtime=0), {"Content-Encoding": "gzip"}),
    ],
    ids=["200", "204", "nothing called gzip", "gzip of nothing"],
)
async def test_an_empty_file_is_refused(answer: bytes, fetcher: Fetcher, site: Web) -> None:
    site.answers["/"] = [answer]
    assert await refusal(fetcher, site.url()) == (400, "the file is empty.")


@pytest.mark.parametrize(("status", "code"), [(400, 400), (401, 401), (403, 403), (404, 404), (410, 410), (304, 400)])
async def test_a_final_answer_is_told_and_not_tried_again(status: int, code: int, fetcher: Fetcher, site: Web) -> None:
    site.answers["/"] = [reply(status, b"no such thing, 127.0.0.1 says"), reply(200, IMAGE)]
    assert await refusal(fetcher, site.url()) == (code, f"its server answered HTTP {status}.")
    assert site.hits("/") == 1


@pytest.mark.parametrize(
    "failure",
    [reply(500), reply(503, b"", {"Retry-After": "3600"}), reply(429), hang_up],
    ids=["500", "503", "429", "hang up"],
)
async def test_a_passing_failure_is_tried_again(failure: Answer, fetcher: Fetcher, site: Web) -> None:
    site.answers["/"] = [failure, reply(200, IMAGE)]
    assert await fetcher.fetch(site.url()) == IMAGE
    assert site.hits("/") == 2


async def test_a_try_that_took_too_long_is_tried_again(make_fetcher: MakeFetcher, site: Web) -> None:
    site.answers["/"] = [stall, reply(200, IMAGE)]
    async with asyncio.timeout(60):  # ends the test if nothing else does
        assert await make_fetcher(timeout=1.0).fetch(site.url()) == IMAGE
    assert site.hits("/") >= 2


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (reply(500), "its server answered HTTP 500."),
        (reply(599), "its server answered HTTP 599."),
        (reply(429), "its server answered HTTP 429."),
        (hang_up, "its server broke off the connection."),
        (reply(200, b"half", {"Content-Length": "8"}), "its server broke off the connection."),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "its server broke off the connection."),
    ],
    ids=["500", "599", "429", "hang up", "cut short", "no HTTP"],
)
async def test_a_lasting_failure_ends_in_502_after_three_tries(
    failure: Answer, text: str, fetcher: Fetcher, site: Web
) -> None:
    site.answers["/"] = [failure]
    assert await refusal(fetcher, site.url()) == (502, text)
    assert site.hits("/") == TRIES == 3


async def test_a_refused_connection_ends_in_502_after_three_tries(make_fetcher: MakeFetcher) -> None:
    asked = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    async with not_heard() as port:
        told = await refusal(make_fetcher(resolver=resolver), f"http://down.test:{port}/")
    assert told == (502, "its server cannot be reached.")
    assert asked == ["down.test"] * TRIES


async def test_a_name_that_is_not_known_ends_in_502(make_fetcher: MakeFetcher) -> None:
    def resolver(host: str, port: int) -> list[str]:
        raise OSError("NXDOMAIN at 127.0.0.53")

    told = await refusal(make_fetcher(resolver=resolver), "http://nowhere.test/")
    assert told == (502, "its server cannot be reached.")


async def test_a_name_whose_lookup_had_no_turn_is_tried_again(make_fetcher: MakeFetcher, site: Web) -> None:
    site.answers["/"] = [reply(200, IMAGE)]
    resolver = Stalling(site.host)
    fetcher = make_fetcher(resolver=resolver, pause=1)
    urls = [site.url(host=f"{label}.evil.test") for label in range(LOOKUPS_A_DOMAIN)]
    async with resolver.stalled(map(fetcher.fetch, urls)):
        late = asyncio.create_task(fetcher.fetch(site.url(host="late.evil.test")))
        await asyncio.sleep(TURN_SECONDS + 0.5)
    assert await late == IMAGE


async def test_the_pause_doubles(make_fetcher: MakeFetcher, site: Web) -> None:
    times = []
    loop = asyncio.get_running_loop()

    async def unwell(writer: asyncio.StreamWriter) -> None:
        times.append(loop.time())
        writer.write(reply(503))

    site.answers["/"] = [unwell]
    await refusal(make_fetcher(pause=0.1), site.url())
    first, second, third = times
    assert second - first >= 0.1
    assert third - second >= 0.2


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("ftp://example.com/a.jpg", "Scheme ftp is not allowed; the URL must start with http:// or https://."),
        ("http://user:secret@example.com/", "The URL must not contain a user name or password."),
        ("http://exa mple.com/", "The URL contains spaces or control characters."),
    ],
)
async def test_a_malformed_url_is_refused(url: str, text: str, fetcher: Fetcher) -> None:
    assert await refusal(fetcher, url) == (400, f"The image could not be downloaded. {text}")


async def test_a_forbidden_address_is_refused_at_once(fetcher: Fetcher, canary: Web) -> None:
    assert await refusal(fetcher, canary.url()) == (403, "address not allowed.")
    assert canary.connections == 0


async def test_no_more_downloads_run_at_once_than_there_are_slots(fetcher: Fetcher, site: Web) -> None:
    running = most = 0
    full = asyncio.Event()

    async def counted(writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == CONCURRENCY:
            full.set()
        await full.wait()
        await asyncio.sleep(0.1)
        running -= 1
        writer.write(reply(200, IMAGE))

    site.answers["/"] = [counted]
    files = await asyncio.gather(*(fetcher.fetch(site.url()) for _ in range(CONCURRENCY * 2)))
    assert most == CONCURRENCY
    assert files == [IMAGE] * CONCURRENCY * 2
