"""Times as our own routes take them: ISO 8601 with a zone, or milliseconds since 1970. Strictly read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from broker.errors import Invalid

LATEST = 253_402_300_799_999
"""The last millisecond of the year 9999."""
NO_TIME = "A time in ISO 8601 with its zone, or milliseconds since 1970, is required."
MOMENT: dict[str, Any] = {
    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer", "minimum": 0, "maximum": LATEST}]
}
"""Its JSON schema."""


def asked_moment(query: Mapping[str, str], name: str) -> int | None:
    """Milliseconds since 1970; None where no time is asked for. Raises Invalid."""
    if name not in query:
        return None
    try:
        return _moment(number_or_text(query[name]))
    except ValueError as error:
        raise Invalid(fields={name: [NO_TIME]}) from error


def number_or_text(text: str) -> int | str:
    """What a query parameter says, as a JSON body would."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else text


def _moment(value: object) -> int:
    """Milliseconds since 1970. Raises ValueError."""
    if isinstance(value, str):
        value = _milliseconds(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LATEST:
        raise ValueError(NO_TIME)
    return value


def _milliseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(NO_TIME)
    return int(moment.timestamp() * 1000)


Moment = Annotated[int, PlainValidator(_moment), WithJsonSchema(MOMENT)]
