"""Blob stores: fixtures of each kind, for the conftest.py of tests that need them all, and what lies in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from moto.server import ThreadedMotoServer

from broker.errors import NotFound
from broker.media.blobs import Blobs, open_blobs

BUCKET = "pictures"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadedMotoServer]:
    """An S3 with an empty bucket; the environment leads there, as it would lead an operator's broker to MinIO."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    for path, method in (("moto-api/reset", "POST"), (BUCKET, "PUT")):  # all servers of a process share what they hold
        with urlopen(Request(f"{endpoint}/{path}", method=method)) as response:
            assert response.status == 200
    yield server
    server.stop()


@pytest.fixture(params=["disk", "memory", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "s3":
        request.getfixturevalue("s3")
    urls = {"disk": "", "memory": "memory://", "s3": f"s3://{BUCKET}/some/prefix"}
    return open_blobs(urls[request.param], tmp_path)


async def exists(blobs: Blobs, key: str) -> bool:
    try:
        await blobs.get(key)
    except NotFound:
        return False
    return True


async def there(blobs: Blobs, *keys: str) -> list[str]:
    """Those of the keys that hold a blob."""
    return [key for key in keys if await exists(blobs, key)]
