"""Ximilar's errors, described for OpenAPI; the examples are what the codec really writes. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from broker.api.description import answer
from broker.api.schemas import Schema, ref
from broker.dialects.ximilar import codec
from broker.errors import (
    BrokerError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    TooManyQueued,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)

PREFIX = "Ximilar"
"""Before the names of the dialect's components."""

_ERRORS: Sequence[tuple[BrokerError, str]] = (
    (
        Invalid(fields={"records": ["Ensure this field has no more than 10 elements."]}),
        "The input is wrong. Every wrong field has its messages; `detail` speaks of the body as a whole.",
    ),
    (Unauthenticated(), "No token came along, or one that is not known."),
    (Forbidden.without("submit"), "The token lacks the right, or may not use that workspace."),
    (NotFound(), "There is nothing of that id that you may see, or no such page."),
    (MethodNotAllowed("PATCH", ["GET", "HEAD"]), "This address does not have that method."),
    (Conflict(), "Not possible in the present state."),
    (Gone("This link has expired."), "It was there; its time is over."),
    (TooLarge(), "The body is larger than this service takes."),
    (UnsupportedMediaType(), "The body is not `application/json`, or compressed."),
    (TooManyQueued(retry_after=5), "The workspace has as much open or under way as it may have. Try again later."),
    (Unavailable(retry_after=5), "The service cannot do it now. Try again later, a POST with its `Idempotency-Key`."),
)
_HEADERS: Mapping[str, Schema] = {
    "Retry-After": {
        "description": "Seconds to wait before the next try.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {"description": "The scheme to use.", "required": True, "schema": {"type": "string"}},
    "Allow": {"description": "The methods that it has.", "required": True, "schema": {"type": "string"}},
}


def error_responses() -> dict[str, Schema]:
    """Component name -> response, for every error of the dialect."""
    return dict(_response(error, description) for error, description in _ERRORS)


def errors(*codes: int) -> dict[str, Schema]:
    """The dialect's answers of those status codes, and the one to a wrong method, which every address has."""
    return {str(code): {"$ref": f"#/components/responses/{PREFIX}{code}"} for code in sorted({*codes, 405})}


def _response(error: BrokerError, description: str) -> tuple[str, Schema]:
    """What the codec makes of an error, as an example, and the shape that it has."""
    shaped = codec.render_error(error)
    whole, fields = ref(PREFIX + "Detail"), ref(PREFIX + "FieldProblems")
    schema = {"anyOf": [fields, whole]} if isinstance(error, Invalid) else whole
    response = answer(description, schema, **{error.code: json.loads(shaped.body)})
    if shaped.headers:
        response["headers"] = {name: _HEADERS[name] for name in shaped.headers}
    return f"{PREFIX}{shaped.status_code}", response
