"""Redirects of downloads: each hop is checked like a customer's own URL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from broker.net.connect import system_resolver
from handlers.contract import RecordError
from tests.integration.net.servers import redirect, reply, stall

if TYPE_CHECKING:
    from broker.media.fetch import Fetcher
    from tests.integration.net.conftest import MakeFetcher
    from tests.integration.net.servers import Web

IMAGE = b"an image"
WHY = "The image could not be downloaded: "


async def told(fetcher: Fetcher, url: str) -> tuple[int, str]:
    with pytest.raises(RecordError) as caught:
        await fetcher.fetch(url)
    return caught.value.code, caught.value.text


def chain(site: Web, hops: int) -> None:
    for hop in range(hops):
        site.answers[f"/{hop}"] = [redirect(f"/{hop + 1}")]
    site.answers[f"/{hops}"] = [reply(200, IMAGE)]


async def test_five_redirects_are_followed(fetcher: Fetcher, site: Web) -> None:
    chain(site, 5)
    assert await fetcher.fetch(site.url("/0")) == IMAGE
    assert len(site.requests) == 6


async def test_six_redirects_are_too_many(fetcher: Fetcher, site: Web) -> None:
    chain(site, 6)
    assert await told(fetcher, site.url("/0")) == (400, f"{WHY}more than 5 redirects.")
    assert (len(site.requests), site.hits("/6")) == (6, 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location", ["/a/target", "target", "./target", "../a/target", "//{host}/a/target", "http://{host}/a/target#x"]
)
async def test_every_kind_of_redirect_is_resolved(status: int, location: str, fetcher: Fetcher, site: Web) -> None:
    site.answers["/a/start"] = [redirect(location.format(host=f"{site.host}:{site.port}"), status)]
    site.answers["/a/target"] = [reply(200, IMAGE)]
    assert await fetcher.fetch(site.url("/a/start")) == IMAGE


async def test_a_location_is_resolved_against_the_name_not_the_address(make_fetcher: MakeFetcher, site: Web) -> None:
    site.answers["/"] = [redirect("/target")]
    site.answers["/target"] = [reply(200, IMAGE)]
    fetcher = make_fetcher(resolver=lambda host, port: [site.host])
    assert await fetcher.fetch(site.url(host="site.test")) == IMAGE
    assert [request.headers["host"] for request in site.requests] == [f"site.test:{site.port}"] * 2


@pytest.mark.parametrize(
    ("location", "target"),
    [("/my file.png", "/my%20file.png"), ("/caf\u00e9", "/caf%C3%A9"), ("?q=1", "/?q=1")],
    ids=["space", "latin-1", "query"],
)
async def test_a_sloppy_location_is_followed(location: str, target: str, fetcher: Fetcher, site: Web) -> None:
    site.answers["/"] = [redirect(location)]
    site.answers[target] = [reply(200, IMAGE)]
    assert await fetcher.fetch(site.url()) == IMAGE


async def test_a_circle_is_noticed(fetcher: Fetcher, site: Web) -> None:
    site.answers["/a"] = [redirect("/b")]
    site.answers["/b"] = [redirect("/a")]
    assert await told(fetcher, site.url("/a")) == (400, f"{WHY}its redirects go in a circle.")
    assert (site.hits("/a"), site.hits("/b")) == (1, 1)


@pytest.mark.parametrize("headers", [{}, {"Location": ""}, {"Location": "  "}], ids=["missing", "empty", "blank"])
async def test_a_redirect_without_target_is_refused(headers: dict[str, str], fetcher: Fetcher, site: Web) -> None:
    site.answers["/"] = [reply(302, b"", headers)]
    assert await told(fetcher, site.url()) == (400, f"{WHY}HTTP 302 without a target.")
    assert site.hits("/") == 1


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://example.com/",
        "http://user:secret@example.com/",
        "http://",
        "http://[::1",
        "http://xn--zzzz---/",
        "http://example.com:99999/",
        "/" + "a" * 3000,
    ],
)
async def test_a_redirect_to_a_malformed_url_is_refused_and_not_tried_again(
    location: str, fetcher: Fetcher, site: Web
) -> None:
    site.answers["/"] = [redirect(location)]
    code, text = await told(fetcher, site.url())
    assert code == 400
    assert "secret" not in text
    assert site.hits("/") == 1


async def test_a_redirect_to_a_private_address_is_refused_at_the_hop(fetcher: Fetcher, site: Web, canary: Web) -> None:
    site.answers["/"] = [redirect(canary.url("/admin"))]
    assert await told(fetcher, site.url()) == (403, f"{WHY}address not allowed.")
    assert (site.hits("/"), canary.connections) == (1, 0)


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "0x0a.1", "[::ffff:10.0.0.1]", "metadata.test"])
async def test_a_redirect_to_another_closed_place_is_refused(host: str, make_fetcher: MakeFetcher, site: Web) -> None:
    site.answers["/"] = [redirect(f"http://{host}/latest/meta-data/")]

    def resolver(name: str, port: int) -> list[str]:
        return ["169.254.169.254"] if name == "metadata.test" else system_resolver(name, port)

    assert await told(make_fetcher(resolver=resolver), site.url()) == (403, f"{WHY}address not allowed.")


async def test_the_body_of_a_redirect_is_not_waited_for(fetcher: Fetcher, site: Web) -> None:
    async def never_ending(writer: asyncio.StreamWriter) -> None:
        writer.write(reply(302, b"", {"Location": "/target", "Content-Length": str(10**12)}))
        await stall(writer)

    site.answers["/"] = [never_ending]
    site.answers["/target"] = [reply(200, IMAGE)]
    assert await fetcher.fetch(site.url()) == IMAGE


async def test_a_failure_behind_a_redirect_starts_again_from_the_first_url(fetcher: Fetcher, site: Web) -> None:
    site.answers["/"] = [redirect("/target")]
    site.answers["/target"] = [reply(503), reply(200, IMAGE)]
    assert await fetcher.fetch(site.url()) == IMAGE
    assert (site.hits("/"), site.hits("/target")) == (2, 2)
