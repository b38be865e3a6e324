"""Customers' secrets in receivers' answers: one that repeats what was sent to it shows none of them. Pure."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from urllib.parse import urlsplit

from broker.webhooks.plain import Plain, alike, forms, readings, without_half

MASK = "***"
LEAST = 6
"""Characters of a secret. A shorter one is soon guessed, and stands in many a text by chance."""
PART = 8
"""Characters in a row of a secret that are masked wherever they stand. As parts are of one length, many secrets take no
longer to look for than one, whatever they and the text are."""

_STANDARD = str.maketrans("-_", "+/")


def masked(text: str, url: str, headers: Mapping[str, str], *, cut: bool = False) -> str:
    """The text without the values of the URL's query and of the customer's headers, and without longer parts of them.

    In capitals or not, and as JSON, a URL or HTML encodes it, also one in another. cut: more followed, so that the
    end, which may be the beginning of one, is masked.
    """
    if (len(text) < LEAST and not cut) or not (parts := _parts(url, headers)):
        return text
    if cut:
        text = without_half(text.removesuffix("\ufffd"))
    shown, end = "", 0
    for begin, until in _joined(place for form in forms(text) for place in _places(form, parts, cut)):
        shown += text[end:begin] + _hidden(text[begin:until])
        end = until
    return shown + text[end:]


def _hidden(text: str) -> str:
    """A mask, between the blanks that the text has around."""
    return text.replace(text.strip(), MASK) if text.strip() else text


def _places(form: Plain, parts: Mapping[int, AbstractSet[str]], cut: bool) -> Iterator[tuple[int, int]]:
    """Where in the original a form of it has parts of secrets, or an end that may begin one: from, until."""
    plain = alike(form.text)
    for length, known in parts.items():
        found = [place for place in range(len(plain) - length + 1) if plain[place : place + length] in known]
        yield from (form.span(*run) for run in _runs(found, length))
    if cut and plain:
        yield form.span(max(0, len(without_half(plain)) - PART + 1), len(plain))


def _runs(found: Sequence[int], length: int) -> Iterator[tuple[int, int]]:
    """Parts of one length that begin at these places, which are in order: from, until, as `_joined` has them."""
    begin = until = -1
    for place in found:
        if place > until:
            if until > 0:
                yield begin, until
            begin = place
        until = place + length
    if until > 0:
        yield begin, until


def _joined(places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """In order, those that overlap or touch as one."""
    found: tuple[int, int] | None = None
    for begin, until in sorted(places):
        if found is None or begin > found[1]:
            if found is not None:
                yield found
            found = begin, until
        else:
            found = found[0], max(found[1], until)
    if found is not None:
        yield found


def _parts(url: str, headers: Mapping[str, str]) -> dict[int, set[str]]:
    """Length -> the parts of that length: all of those of PART characters, and the secrets that have fewer."""
    parts: defaultdict[int, set[str]] = defaultdict(set)
    wholes = {alike(reading) for secret in _secrets(url, headers) for reading in readings(secret)}
    for secret in wholes:
        if (length := min(len(secret), PART)) >= LEAST:
            parts[length] |= {secret[place : place + length] for place in range(len(secret) - length + 1)}
    return parts


def _secrets(url: str, headers: Mapping[str, str]) -> Iterator[str]:
    yield from _values(urlsplit(url).query)
    for value in headers.values():
        yield value
        yield from _credentials(value)


def _values(query: str) -> Iterator[str]:
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        yield value if equals else name


def _credentials(value: str) -> Iterator[str]:
    """`user:password` and the password of `Basic …`, which servers decode (RFC 7617), in any base64 of RFC 4648."""
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() != "basic":
        return
    encoded = encoded.strip().rstrip("=").translate(_STANDARD)
    try:
        pair = base64.b64decode(encoded + "==")
    except ValueError:
        return
    for charset in ("utf-8", "latin-1"):
        credentials = pair.decode(charset, "replace")
        yield credentials
        yield credentials.partition(":")[2]
