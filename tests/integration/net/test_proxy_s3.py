"""obstore's own HTTP stack behind the guard proxy, against a real S3 in plain HTTP and TLS."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import pytest
from moto.server import ThreadedMotoServer
from obstore.exceptions import BaseError
from obstore.store import S3Store

from broker.net.addresses import Policy
from broker.net.proxy import guard_proxy
from tests.integration.net.authority import Authority
from tests.integration.net.servers import Web, reply
from tests.integration.net.tcp import listening

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.integration.net.servers import Names

BUCKET = "guarded"
EMPTY_LISTING = b'<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>'


@pytest.fixture
def s3_port() -> Iterator[int]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for path, method in (("moto-api/reset", "POST"), (BUCKET, "PUT")):  # all servers of a process share what they hold
        with urlopen(Request(f"http://{host}:{port}/{path}", method=method)) as response:
            assert response.status == 200
    yield port
    server.stop()


@pytest.fixture
def authority() -> Authority:
    return Authority()


# A name of one label: from "a.b" the server would take "a" for the bucket.
def store(endpoint: str, proxy: str, authority: Authority) -> S3Store:
    return S3Store(
        BUCKET,
        endpoint=endpoint,
        region="us-east-1",
        access_key_id="test",
        secret_access_key="test",
        virtual_hosted_style_request=False,
        client_options={"proxy_url": proxy, "allow_http": True, "root_certificate": authority.pem},
        retry_config={"max_retries": 0},
    )


@asynccontextmanager
async def tls_before(port: int, tls: ssl.SSLContext) -> AsyncIterator[int]:
    """A port that speaks TLS and hands on to another what it hears."""

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while part := await source.read(65536):
            sink.write(part)
            await sink.drain()
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer), return_exceptions=True)
        finally:
            for end in (inner_writer, writer):
                end.transport.abort()

    async with listening(serve, tls=tls) as listener:
        yield listener.port


async def use(bucket: S3Store) -> None:
    """Put, get, list and delete, with keys that need escapes and a body of several parts."""
    picture = bytes(range(256)) * 50_000
    await bucket.put_async("a folder/ü+%.jpg", picture)
    await bucket.put_async("large", picture, use_multipart=True, chunk_size=6 * 1024 * 1024)
    assert bytes(await (await bucket.get_async("a folder/ü+%.jpg")).bytes_async()) == picture
    assert bytes(await (await bucket.get_async("large")).bytes_async()) == picture
    assert bytes(await bucket.get_range_async("large", start=1, end=4)) == b"\x01\x02\x03"
    listed = [meta["path"] async for page in bucket.list() for meta in page]
    assert sorted(listed) == ["a folder/ü+%.jpg", "large"]
    await bucket.delete_async(["large", "a folder/ü+%.jpg"])
    with pytest.raises(FileNotFoundError):
        await bucket.head_async("large")


async def test_an_s3_store_works_through_the_proxy_in_plain_http(
    only_site: Policy, s3_port: int, authority: Authority
) -> None:
    async with guard_proxy(only_site, resolver=lambda host, port: ["127.0.0.1"]) as proxy:
        await use(store(f"http://store:{s3_port}", proxy, authority))


async def test_an_s3_store_works_through_the_proxy_in_tls(
    only_site: Policy, s3_port: int, authority: Authority, tmp_path: Path
) -> None:
    async with (
        tls_before(s3_port, authority.server("store", tmp_path)) as port,
        guard_proxy(only_site, resolver=lambda host, port: ["127.0.0.1"]) as proxy,
    ):
        await use(store(f"https://store:{port}", proxy, authority))


async def list_all(bucket: S3Store) -> list[str]:
    return [meta["path"] async for page in bucket.list() for meta in page]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_rebound_s3_endpoint_is_looked_up_once_a_connection_and_then_refused(
    scheme: str, other_loopback: str, names: Names, authority: Authority, tmp_path: Path
) -> None:
    tls = authority.server("rebind.test", tmp_path) if scheme == "https" else None
    listing = reply(200, EMPTY_LISTING, {"Content-Type": "application/xml"})
    async with (
        Web(answers={f"/{BUCKET}?list-type=2": [listing]}).listen(other_loopback, tls=tls) as site,
        Web().listen("127.0.0.1", site.port) as canary,
        guard_proxy(Policy((ip_network(other_loopback),)), resolver=names.resolver()) as proxy,
    ):
        names.answers["rebind.test"] = [[site.host], [canary.host]]
        bucket = store(site.url("", host="rebind.test"), proxy, authority)
        assert await list_all(bucket) == []
        assert (names.asked, site.connections) == (["rebind.test"], 1)
        with pytest.raises(BaseError) as caught:
            await list_all(bucket)
    assert names.asked == ["rebind.test"] * 2
    assert (site.connections, canary.connections) == (1, 0)
    assert canary.host not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_environment_leads_no_store_past_the_proxy(
    scheme: str, monkeypatch: pytest.MonkeyPatch, site: Web, canary: Web, authority: Authority
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, canary.url())
    async with guard_proxy(Policy()) as proxy:
        with pytest.raises(BaseError):
            await list_all(store(f"{scheme}://{site.host}:{site.port}", proxy, authority))
    assert (site.connections, canary.connections) == (0, 0)
