"""Customers' secrets in receivers' answers: one that repeats what was sent to it shows none of them. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

MASK = "***"
LEAST = 8
"""Characters of a secret. Shorter ones could be guessed anyway, and stand in many a text by chance."""


def masked(text: str, url: str, headers: Mapping[str, str]) -> str:
    """The text without the query of the URL and the values of the customer's headers, as wholes and word by word."""
    plain = [secret for secret in _secrets(url, headers) if len(secret) >= LEAST]
    secrets = {spelt for secret in plain for spelt in _spellings(secret)}
    for secret in sorted(secrets, key=len, reverse=True):  # or a part of one would break it up
        text = text.replace(secret, MASK)
    return text


def _spellings(secret: str) -> Iterator[str]:
    """As it is, and as JSON (that of PHP too), a URL or HTML writes it."""
    in_json = json.dumps(secret)[1:-1]
    yield from (
        secret,
        in_json,
        in_json.replace("/", "\\/"),
        quote(secret, safe=""),
        quote_plus(secret),
        escape(secret),
    )


def _secrets(url: str, headers: Mapping[str, str]) -> Iterator[str]:
    for value in headers.values():
        yield value
        yield from value.split()
    query = urlsplit(url).query
    yield query
    for part in query.split("&"):
        yield part.partition("=")[2]
    yield from (value for _, value in parse_qsl(query))
