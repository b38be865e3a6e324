"""Customers' secrets in receivers' answers: one that repeats what was sent to it shows none of them. Pure."""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

MASK = "***"
LEAST = 8
"""Characters of a secret. Shorter ones could be guessed anyway, and stand in many a text by chance."""


def masked(text: str, url: str, headers: Mapping[str, str], *, cut: bool = False) -> str:
    """The text without the query of the URL and the values of the customer's headers, as wholes and word by word.

    cut: more followed, so that what stands at its end may be the beginning of one.
    """
    plain = [secret for secret in _secrets(url, headers) if len(secret) >= LEAST]
    secrets = sorted({spelt for secret in plain for spelt in _spellings(secret)})
    if cut:
        text = _without_beginning(text, secrets)
    for secret in sorted(secrets, key=len, reverse=True):  # or a part of one would break it up
        text = text.replace(secret, MASK)
    return text


def _without_beginning(text: str, secrets: Sequence[str]) -> str:
    """The text without the longest end of it that one of the secrets, which are sorted, begins with."""
    text = text.removesuffix("\ufffd")  # half a character
    for start in range(max(0, len(text) - max(map(len, secrets), default=0)), len(text)):
        end = text[start:]
        place = bisect_left(secrets, end)
        if place < len(secrets) and secrets[place].startswith(end):
            return text[:start] + MASK
    return text


def _spellings(secret: str) -> Iterator[str]:
    """As it is, and as JSON (that of PHP too), a URL in either case or HTML writes it."""
    in_json = json.dumps(secret)[1:-1]
    yield from (secret, in_json, in_json.replace("/", "\\/"), escape(secret))
    for in_url in (quote(secret, safe=""), quote_plus(secret)):
        yield from (in_url, re.sub("%[0-9A-F]{2}", lambda byte: byte[0].lower(), in_url))


def _secrets(url: str, headers: Mapping[str, str]) -> Iterator[str]:
    for value in headers.values():
        yield value
        yield from value.split()
        yield from _credentials(value)
    query = urlsplit(url).query
    yield query
    for part in query.split("&"):
        yield part.partition("=")[2]
    yield from (value for _, value in parse_qsl(query))


def _credentials(value: str) -> Iterator[str]:
    """`user:password` and the password of `Basic …`, which servers decode (RFC 7617)."""
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() != "basic":
        return
    try:
        pair = base64.b64decode(encoded.strip())
    except ValueError:
        return
    for charset in ("utf-8", "latin-1"):
        decoded = pair.decode(charset, "replace")
        yield decoded
        yield decoded.partition(":")[2]
