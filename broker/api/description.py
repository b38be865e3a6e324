"""The words in which every part of the API describes itself for OpenAPI 3.1. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker.api.schemas import Schema

SCHEMES: Mapping[str, Schema] = {
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Authorization: Token <token>`, as Ximilar's clients send it.",
    },
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer <token>`, the same token."},
    "jwt": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Authorization: JWT <token>`, the same token.",
    },
}
"""The forms in which a token may come, each good for every operation."""


@dataclass(frozen=True, slots=True)
class Section:
    """What one part of the API adds to the document: operations under one tag, and the components they refer to."""

    tag: str
    description: str
    paths: Mapping[str, Schema]
    webhooks: Mapping[str, Schema] = field(default_factory=dict)
    schemas: Mapping[str, Schema] = field(default_factory=dict)
    responses: Mapping[str, Schema] = field(default_factory=dict)


def secured(scope: str) -> Sequence[Schema]:
    """Needs a token with that right, in any of the forms."""
    return [{scheme: [scope]} for scheme in SCHEMES]


def parameter(name: str, schema: Schema, description: str, *, place: str = "query", **more: Any) -> Schema:
    """A parameter; one in the path is always required."""
    required = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, "description": description, **required, "schema": schema, **more}


def answer(description: str, schema: Schema, media_type: str = "application/json", **examples: Any) -> Schema:
    """A response with a body; examples by their names."""
    return {"description": description, "content": {media_type: with_examples(schema, **examples)}}


def with_examples(schema: Schema, **examples: Any) -> Schema:
    """A body of one media type; examples by their names."""
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"schema": schema, **({"examples": shown} if shown else {})}
