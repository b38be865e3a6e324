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
EARLIEST = 10**12
"""A smaller number, before September 2001, is one of seconds."""
NO_TIME = "A time in ISO 8601 with its zone, or milliseconds since 1970, is required."
IN_SECONDS = f"This number seems to be in seconds. {NO_TIME}"
BEFORE_SINCE = "This is before `since`."
MOMENT: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "integer", "minimum": EARLIEST, "maximum": LATEST},
        {"type": "integer", "const": 0},
    ]
}
"""Its JSON schema. 0, which is the same in seconds, is from the beginning."""


def asked_moment(query: Mapping[str, str], name: str) -> int | None:
    """Milliseconds since 1970; None where no time is asked for. Raises Invalid."""
    if name not in query:
        return None
    try:
        return milliseconds_of(number_or_text(query[name]))
    except ValueError as error:
        raise Invalid(fields={name: [str(error)]}) from error


def check_order(since: int | None, until: int | None) -> None:
    """Raises Invalid where nothing lies between two times."""
    if since is not None and until is not None and until < since:
        raise Invalid(fields={"until": [BEFORE_SINCE]})


def number_or_text(text: str) -> int | str:
    """What a query parameter says, as a JSON body would."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else text


def milliseconds_of(value: object) -> int:
    """Milliseconds since 1970. Raises ValueError, whose text is for the caller."""
    if type(value) is int and 0 < value < EARLIEST:
        raise ValueError(IN_SECONDS)
    milliseconds = _milliseconds(value) if isinstance(value, str) else value
    if type(milliseconds) is not int or not 0 <= milliseconds <= LATEST:
        raise ValueError(NO_TIME)
    return milliseconds


def _milliseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(NO_TIME) from None
    if moment.tzinfo is None:
        raise ValueError(NO_TIME)
    return int(moment.timestamp() * 1000)


Moment = Annotated[int, PlainValidator(milliseconds_of), WithJsonSchema(MOMENT)]
