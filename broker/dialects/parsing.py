"""Reading JSON as strictly as the store needs it: what cannot be stored or sent again is refused here."""

from __future__ import annotations

import math
from typing import Any

from pydantic_core import from_json

from broker.errors import Invalid

MAX_SHOWN = 100
_NUL = "a string contains NUL"


def parse_json(raw: bytes) -> Any:
    """The value of a JSON text. Raises Invalid for broken JSON and for what can be neither stored nor sent again:

    NaN, Infinity, a number too large for a float, a lone surrogate, NUL in a string. The message of the last names the
    place, as `webhook.headers.X-Key`.
    """
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise Invalid(f"JSON parse error - {error}") from error
    if problem := _problem(value):
        text, *steps = problem
        place = ".".join(reversed(steps))
        raise Invalid(f"JSON parse error - {text}" + (f" at {place}" if place else ""))
    return value


def _problem(value: Any) -> list[str] | None:
    """What is wrong, and the steps to it from inside. Written for speed: it looks at every value of every body."""
    if isinstance(value, str):
        return [_NUL] if "\0" in value else None
    if isinstance(value, float):
        return None if math.isfinite(value) else ["number out of range"]
    if isinstance(value, dict):
        for name, item in value.items():
            if "\0" in name:
                return [_NUL, _shown(name)]
            if problem := _problem(item):
                return [*problem, _shown(name)]
    elif isinstance(value, list):
        for item in value:
            if problem := _problem(item):
                return [*problem, str(next(place for place, other in enumerate(value) if other is item))]
    return None


def _shown(name: str) -> str:
    """The name for a message: short, and what cannot be seen escaped."""
    return ascii(name[:MAX_SHOWN])[1:-1]
