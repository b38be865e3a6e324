"""Reading the query of an address: known names only, numbers, choices, pages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request

from broker.api.http import ONLY_ONCE, client_url
from broker.errors import Invalid

T = TypeVar("T", bound=str)


def known_query(request: Request, known: Collection[str]) -> QueryParams:
    """The query, of whose repeated names the last counts for `get`. Raises Invalid for another name."""
    query = request.query_params
    if unknown := sorted(set(query) - set(known)):
        raise Invalid(fields={name: ["Unknown query parameter."] for name in unknown})
    return query


def check_single(query: QueryParams, names: Collection[str]) -> None:
    """Raises Invalid for those of these names that come more than once."""
    if doubled := sorted(name for name in names if len(query.getlist(name)) > 1):
        raise Invalid(fields={name: [ONLY_ONCE] for name in doubled})


def asked_page(query: Mapping[str, str], usual: int, most: int) -> tuple[int, int]:
    """(which page, from 1; how many a page: `usual` unless asked for, never over `most`). Raises Invalid."""
    return _number(query, "page", 1), min(_number(query, "page_size", usual), most)


def neighbours(request: Request, number: int, size: int, count: int) -> tuple[str | None, str | None]:
    """The addresses of the next page and of the one before, with the same filters, by the Host that was used."""
    here = client_url(request) + request.url.path
    others = [(name, value) for name, value in request.query_params.multi_items() if name != "page"]

    def page(number: int) -> str:
        return f"{here}?{urlencode([*others, ('page', number)])}"

    return page(number + 1) if number * size < count else None, page(number - 1) if number > 1 else None


def choice(query: Mapping[str, str], name: str, choices: Collection[str]) -> str | None:
    """One of `choices`; None where it is not asked for. Raises Invalid."""
    value = query.get(name)
    if value is not None:
        _check_choice(name, value, choices)
    return value


def choices_of(query: QueryParams, name: str, choices: Collection[T]) -> tuple[T, ...] | None:
    """Some of `choices`, repeated or comma-separated; None where none is asked for. Raises Invalid."""
    if name not in query:
        return None
    known = {str(choice): choice for choice in choices}
    values = comma_separated(query.getlist(name))
    for value in values:
        _check_choice(name, value, known)
    return tuple(known[value] for value in values)


def comma_separated(texts: Sequence[str]) -> list[str]:
    """The values of a parameter that may be repeated and hold several."""
    return [part for text in texts for part in text.split(",")]


def _check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raises Invalid for another value."""
    if value not in choices:
        raise Invalid(fields={name: [f'"{value}" is not a valid choice.']})


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < 1:
        raise Invalid(fields={name: ["A positive integer is required."]})
    return int(text)
