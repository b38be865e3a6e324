"""A text as it reads once JSON, URLs and HTML are decoded, and where each of its characters stood. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import unescape
from html.entities import html5
from string import ascii_lowercase, ascii_uppercase

ROUNDS = 3
"""How often a text is decoded at most: what was encoded more often stays as it is."""
_HEX = "[0-9a-fA-F]"
_CODED = re.compile(
    rf"[%\\&](?:(?<=%){_HEX}{{2}}(?:%{_HEX}{{2}})*"
    rf"|(?<=\\)(?:x{_HEX}{{2}}(?:\\x{_HEX}{{2}})*|u{_HEX}{{4}}(?:\\u{_HEX}{{4}})*|[\"'\\/bfnrt])"
    rf"|(?<=&)(?:#0*[0-9]{{1,7}}|#[xX]0*{_HEX}{{1,6}}|[a-zA-Z][a-zA-Z0-9]{{1,31}});)"
)
"""Encoded characters, in runs where one may take several: `%C3%B6`, `\\xc3\\xb6`, `\\ud83d\\ude00`."""
_HALF = re.compile(
    r"((?P<by>%|\\x)[c-f][0-9a-f]((?P=by)[89ab][0-9a-f]){0,2}|\\ud[89ab][0-9a-f]{2})?"
    r"(%[0-9a-f]?|\\(u[0-9a-f]{0,3}|x[0-9a-f]?)?|&[#0-9a-z]{0,32})?\Z",
    re.IGNORECASE | re.ASCII,
)
_LONGEST_HALF = 45
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_ALIKE = str.maketrans(ascii_uppercase + "+\t", ascii_lowercase + "  ")


@dataclass(frozen=True, slots=True)
class Plain:
    """begins, ends: for each character of the text, where in the original what it was made of begins and ends."""

    text: str
    begins: Sequence[int]
    ends: Sequence[int]

    def span(self, begin: int, end: int) -> tuple[int, int]:
        """Where in the original these characters stand: from, until."""
        return self.begins[begin], self.ends[end - 1]


def forms(text: str) -> Iterator[Plain]:
    """As it is, and as it reads after each round of decoding, while that changes it."""
    form = Plain(text, range(len(text)), range(1, len(text) + 1))
    yield form
    for _ in range(ROUNDS):
        if not _CODED.search(form.text) or (following := _next(form)).text == form.text:
            return
        form = following
        yield form


def readings(text: str) -> Iterator[str]:
    """The texts of its forms."""
    yield text
    for _ in range(ROUNDS):
        following = _CODED.sub(lambda match: "".join(char for char, _, _ in _characters(match[0])), text)
        if following == text:
            return
        text = following
        yield text


def alike(text: str) -> str:
    """The text, as long as it was, with small letters for capitals and a blank for each `+` and tab."""
    return text.translate(_ALIKE)


def without_half(text: str) -> str:
    """The text without what may be the beginning of an encoded character at its end."""
    half = _HALF.search(text, max(0, len(text) - _LONGEST_HALF))
    return text[: half.start()] if half else text


def _next(form: Plain) -> Plain:
    parts: list[str] = []
    begins: list[int] = []
    ends: list[int] = []
    done = 0
    for match in _CODED.finditer(form.text):
        start, end = match.span()
        if done < start:
            parts.append(form.text[done:start])
            begins += form.begins[done:start]
            ends += form.ends[done:start]
        for char, begin, until in _characters(match[0]):
            parts.append(char)
            begins.append(form.begins[start + begin])
            ends.append(form.ends[start + until - 1])
        done = end
    return Plain("".join((*parts, form.text[done:])), [*begins, *form.begins[done:]], [*ends, *form.ends[done:]])


def _characters(coded: str) -> Iterable[tuple[str, int, int]]:
    """What a match of `_CODED` stands for, each with where in the match that is written: from, until."""
    if coded[0] == "&":
        known = coded[1] == "#" or coded[1:] in html5  # of another, `unescape` tries each beginning
        return [(char, 0, len(coded)) for char in unescape(coded)] if known else [*_as_it_is(coded)]
    if coded[0] == "%" or coded[1] == "x":
        return _of_bytes(coded)
    if coded[1] == "u":
        return _of_units(coded)
    return [(_SHORT.get(coded[1], coded[1]), 0, 2)]


def _as_it_is(coded: str) -> Iterator[tuple[str, int, int]]:
    return ((char, place, place + 1) for place, char in enumerate(coded))


def _of_bytes(coded: str) -> Iterator[tuple[str, int, int]]:
    """UTF-8, and Latin-1 where it is none."""
    lead = 1 if coded[0] == "%" else 2
    data, at = bytes.fromhex(coded.replace(coded[:lead], "")), 0
    for char in data.decode("utf-8", "surrogateescape"):
        if "\udc80" <= char <= "\udcff":
            until = at + lead + 2
            yield chr(ord(char) - 0xDC00), at, until
        else:
            until = at + (lead + 2) * len(char.encode())
            yield char, at, until
        at = until


def _of_units(coded: str) -> Iterator[tuple[str, int, int]]:
    """UTF-16."""
    at = 0
    for char in bytes.fromhex(coded.replace("\\u", "")).decode("utf-16-be", "surrogatepass"):
        until = at + (12 if char > "\uffff" else 6)
        yield char, at, until
        at = until
