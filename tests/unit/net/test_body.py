"""Bodies within bounds: how much is read, how much is inflated."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

import httpx
import pytest

from broker.net.body import DamagedBody, inflate, read_up_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PLAIN = bytes(range(256)) * 40
GZIP = gzip.compress(PLAIN)
BARE = zlib.compressobj(wbits=-15)
BARE_DEFLATE = BARE.compress(PLAIN) + BARE.flush()


class Parts(httpx.AsyncByteStream):
    """A body of given parts that counts how many were taken."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            self.taken += 1
            yield part


@pytest.mark.parametrize(
    ("cap", "expected", "taken"),
    [(2, b"ab", 1), (3, b"abc", 1), (4, b"abcd", 2), (6, b"abcdef", 2), (8, b"abcdefgh", 3), (100, b"abcdefghi", 3)],
)
async def test_reading_stops_at_the_cap(cap: int, expected: bytes, taken: int) -> None:
    body = Parts(b"abc", b"def", b"ghi")
    assert await read_up_to(httpx.Response(200, stream=body), cap) == expected
    assert body.taken == taken


async def test_an_empty_body_is_read() -> None:
    assert await read_up_to(httpx.Response(200, stream=Parts()), 10) == b""


WHOLE = {
    "gzip": (GZIP, "gzip"),
    "x-gzip": (GZIP, "x-gzip"),
    "deflate": (zlib.compress(PLAIN), "deflate"),
    "deflate without zlib's header": (BARE_DEFLATE, "deflate"),
}
DAMAGED = {
    "cut in the trailer": (GZIP[:-1], "gzip"),
    "cut in the middle": (GZIP[:50], "gzip"),
    "followed by more": (GZIP + b"more", "gzip"),
    "two members": (GZIP + GZIP, "gzip"),
    "wrong checksum": (GZIP[:-8] + bytes(8), "gzip"),
    "not compressed": (PLAIN, "gzip"),
    "deflate called gzip": (zlib.compress(PLAIN), "gzip"),
    "gzip called deflate": (GZIP, "deflate"),
    "one byte": (b"x", "deflate"),
    "nothing": (b"", "gzip"),
}


@pytest.mark.parametrize(("body", "coding"), WHOLE.values(), ids=WHOLE.keys())
def test_every_coding_is_undone(body: bytes, coding: str) -> None:
    assert inflate(body, coding, len(PLAIN) + 1) == PLAIN
    assert inflate(body, coding, 100) == PLAIN[:100]


def test_a_gzip_bomb_is_inflated_to_the_cap_only() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 100_000
    assert inflate(bomb, "gzip", 1000) == bytes(1000)


@pytest.mark.parametrize(("body", "coding"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_body_is_never_taken_for_a_whole_one(body: bytes, coding: str) -> None:
    with pytest.raises(DamagedBody):
        inflate(body, coding, 1_000_000)
