"""Customers' secrets in receivers' answers: one that repeats what was sent to it shows none of them. Pure."""

from __future__ import annotations

import base64
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from string import ascii_lowercase, ascii_uppercase
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

MASK = "***"
LEAST, LEAST_OF_WORDS = 6, 8
"""Characters of a secret, and of a word of one. Shorter ones are soon guessed, and stand in many a text by chance."""
_SMALL = str.maketrans(ascii_uppercase, ascii_lowercase)


def masked(text: str, url: str, headers: Mapping[str, str], *, cut: bool = False) -> str:
    """The text without the query of the URL and the values of the customer's headers, as wholes and word by word.

    In capitals or not. cut: more followed, so that what stands at its end may be the beginning of one.
    """
    plain = {secret for secret in _secrets(url, headers) if len(secret) >= LEAST}
    plain |= {word for value in headers.values() for word in value.split() if len(word) >= LEAST_OF_WORDS}
    secrets = sorted({spelt.translate(_SMALL) for secret in plain for spelt in _spellings(secret)})
    if cut:
        text = _without_beginning(text, secrets)
    small = text.translate(_SMALL)
    shown, end = "", 0
    for begin, until in _joined(place for secret in secrets for place in _places(small, secret)):
        shown += text[end:begin] + MASK
        end = until
    return shown + text[end:]


def _places(text: str, secret: str) -> Iterator[tuple[int, int]]:
    """Where it stands in the text: from, until."""
    begin = text.find(secret)
    while begin >= 0:
        yield begin, begin + len(secret)
        begin = text.find(secret, begin + len(secret))


def _joined(places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """In order, those that overlap as one."""
    found: tuple[int, int] | None = None
    for begin, until in sorted(places):
        if found is None or begin >= found[1]:
            if found is not None:
                yield found
            found = begin, until
        else:
            found = found[0], max(found[1], until)
    if found is not None:
        yield found


def _without_beginning(text: str, secrets: Sequence[str]) -> str:
    """The text without the longest end of it that one of the secrets, which are sorted and small, begins with."""
    text = text.removesuffix("\ufffd")  # half a character
    small = text.translate(_SMALL)
    for start in range(max(0, len(text) - max(map(len, secrets), default=0)), len(text)):
        end = small[start:]
        place = bisect_left(secrets, end)
        if place < len(secrets) and secrets[place].startswith(end):
            return text[:start] + MASK
    return text


def _spellings(secret: str) -> Iterator[str]:
    """As it is, and as JSON (that of PHP too), a URL or HTML writes it."""
    in_json = json.dumps(secret)[1:-1]
    yield from (secret, in_json, in_json.replace("/", "\\/"))
    yield from (quote(secret, safe=""), quote_plus(secret), escape(secret))


def _secrets(url: str, headers: Mapping[str, str]) -> Iterator[str]:
    for value in headers.values():
        yield value
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
