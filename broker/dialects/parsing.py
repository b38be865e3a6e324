"""Reading JSON as strictly as the store needs it: what cannot be stored or sent again is refused here."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from broker.errors import Invalid


def parse_json(raw: bytes) -> Any:
    """The value of a JSON text. Raises Invalid for broken JSON, NaN, Infinity, lone surrogates and NUL in a string."""
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise Invalid(f"JSON parse error - {error}") from error
    if b"\\u0000" in raw and _has_nul(value):
        raise Invalid("JSON parse error - a string contains NUL")
    return value


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(name) or _has_nul(item) for name, item in value.items())
    return isinstance(value, list) and any(_has_nul(item) for item in value)
