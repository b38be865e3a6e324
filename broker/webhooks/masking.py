"""Customers' secrets in receivers' answers: one that repeats what was sent to it shows none of them. Pure."""

from __future__ import annotations

import base64
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from broker.webhooks.plain import alike, decoded, forms, readable, without_half

MASK = "***"
MOST = 300
"""Secrets, as wholes and words, that are looked for: this is the event loop's time. Of an answer where there are more,
nothing is shown."""
LEAST, LEAST_OF_WORDS = 6, 8
"""Characters of a secret, and of a word of one. Shorter ones are soon guessed, and stand in many a text by chance."""
_HEAD = 4
"""Characters of a beginning by which most places where none stands are passed at once."""
_MARKS = re.compile(r"[\s=;,:&?@|\"'<>(){}\[\]]+")


def masked(text: str, url: str, headers: Mapping[str, str], *, cut: bool = False) -> str:
    """The text without the query of the URL and the values of the customer's headers, as wholes and word by word.

    In capitals or not, and as JSON, a URL or HTML encodes it, also one in another. cut: more followed, so that what
    stands at its end may be the beginning of one. What is encoded more often than `plain.MOST` times ends the text.
    """
    secrets = sorted({alike(secret) for secret in _secrets(url, headers)})
    if len(secrets) > MOST:
        return MASK if text else text
    if cut:
        text = without_half(text.removesuffix("\ufffd"))
    if (kept := readable(text)) != text:
        text, cut = kept, True
    shown, end = "", 0
    for begin, until in _joined(_spans(text, secrets, cut)):
        shown += text[end:begin] + MASK
        end = until
    return shown + text[end:]


def _spans(text: str, secrets: Sequence[str], cut: bool) -> Iterator[tuple[int, int]]:
    """Where the secrets, which are sorted, stand in the text, however they are encoded: from, until."""
    for form in forms(text):
        plain = alike(form.text)
        yield from (form.span(*place) for secret in secrets for place in _places(plain, secret))
        if cut:
            yield from ((form.begins[begin], len(text)) for begin in _begun(plain, secrets))


def _places(text: str, secret: str) -> Iterator[tuple[int, int]]:
    """Where it stands in the text: from, until. Of several that overlap, the first and the last one."""
    begin = text.find(secret)
    while begin >= 0:
        yield begin, begin + len(secret)
        overlapping = text.rfind(secret, begin + 1, begin + 2 * len(secret) - 1)
        begin = overlapping if overlapping > 0 else text.find(secret, begin + len(secret))


def _begun(text: str, secrets: Sequence[str]) -> Iterator[int]:
    """Where the longest end of the text begins that one of the secrets begins with, and so without half a character."""
    heads = {secret[:length] for secret in secrets for length in range(1, _HEAD + 1)}
    longest = max(map(len, secrets), default=0)
    for end in {text, without_half(text)}:
        for start in range(max(0, len(end) - longest), len(end)):
            if end[start : start + _HEAD] in heads and _begins_one(end[start:], secrets):
                yield start
                break


def _begins_one(text: str, secrets: Sequence[str]) -> bool:
    place = bisect_left(secrets, text)
    return place < len(secrets) and secrets[place].startswith(text)


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


def _secrets(url: str, headers: Mapping[str, str]) -> Iterator[str]:
    """All that is looked for: of each secret the whole, and of values their words, encoded and decoded."""
    query = urlsplit(url).query
    values = [*headers.values(), *_values(query)]
    wholes = [*values, query, *(part for value in headers.values() for part in _credentials(value))]
    yield from (form for whole in wholes for form in _encoded_and_decoded(whole) if len(form) >= LEAST)
    words = {word for value in values for form in _encoded_and_decoded(value) for word in _words(form)}
    yield from (form for word in words for form in _encoded_and_decoded(word) if len(form) >= LEAST_OF_WORDS)


def _encoded_and_decoded(secret: str) -> set[str]:
    return {secret, decoded(secret)}


def _words(value: str) -> Iterator[str]:
    """Parts between blanks, and between the marks that values have a structure by."""
    yield from value.split()
    yield from _MARKS.split(value)


def _values(query: str) -> Iterator[str]:
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        yield value if equals else name


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
        credentials = pair.decode(charset, "replace")
        yield credentials
        yield credentials.partition(":")[2]
