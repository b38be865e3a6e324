"""Bodies of responses, never more of them than was asked for."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

_GZIP, _ZLIB, _BARE_DEFLATE = 31, 15, -15  # zlib's names for what stands around the compressed bytes
CODINGS = frozenset({"gzip", "x-gzip", "deflate"})
"""The content codings that `inflate` undoes."""


class DamagedBody(Exception):
    """A compressed body that ends too early, goes on too long, or is something else."""


async def read_up_to(response: httpx.Response, cap: int) -> bytes:
    """The first `cap` bytes of a streamed response's body as they were sent; the rest stays unread.

    It has no time limit of its own. A connection with unread bytes is closed together with its response.
    """
    parts: list[bytes] = []
    missing = cap
    async for part in response.aiter_raw():
        parts.append(part[:missing])
        missing -= len(parts[-1])
        if missing == 0:
            break
    return b"".join(parts)


def inflate(body: bytes, coding: str, cap: int) -> bytes:
    """The first `cap` bytes of what `body` holds in one of CODINGS. Never makes more. Raises DamagedBody."""
    stream = zlib.decompressobj(_wrapping(body, coding))
    try:
        plain = stream.decompress(body, cap)
    except zlib.error as error:
        raise DamagedBody from error
    if len(plain) < cap and (not stream.eof or stream.unused_data):
        raise DamagedBody
    return plain


def _wrapping(body: bytes, coding: str) -> int:
    """`deflate` means a zlib header by RFC 9110, and none by what some servers send."""
    if coding != "deflate":
        return _GZIP
    has_header = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
    return _ZLIB if has_header else _BARE_DEFLATE
