"""The OpenAPI 3.1 document of an installation: what every part of the API says about itself, put together. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from broker.api import (
    delivery_openapi,
    endpoint_openapi,
    own_openapi,
    secret_openapi,
    service_openapi,
    ximilar_openapi,
)
from broker.api.description import SCHEMES, Section
from broker.api.schemas import Schema, merge, params_schemas
from handlers.registry import Registry

PACKAGE = "image-broker"
SECTIONS: Sequence[Callable[[Registry], Section]] = (
    ximilar_openapi.section,
    own_openapi.section,
    delivery_openapi.section,
    endpoint_openapi.section,
    secret_openapi.section,
    service_openapi.section,
)
"""The parts of the API in reading order. A new dialect adds its own here."""

DESCRIPTION = """\
Asynchronous image work: send images, get an id at once, fetch the results later or have them posted to your webhook.

Every address works with and without a slash at its end. `HEAD` works wherever `GET` does.

Send your token in `Authorization`, as `Token`, `Bearer` or `JWT`.

An answer 500 is a fault of this service's own.
"""


def document(registry: Registry) -> dict[str, Any]:
    """The document for the types in `registry`. Raises ValueError when two of its parts claim one name."""
    sections = [section(registry) for section in SECTIONS]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Image broker",
            "summary": "A self-hosted broker for asynchronous image work",
            "description": DESCRIPTION,
            "version": version(PACKAGE),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "Where this document comes from"}],
        "tags": [{"name": section.tag, "description": section.description} for section in sections],
        "paths": _all(*(section.paths for section in sections)),
        "webhooks": _all(*(section.webhooks for section in sections)),
        "components": {
            "securitySchemes": dict(SCHEMES),
            "schemas": _all(params_schemas(registry), *(section.schemas for section in sections)),
            "responses": _all(*(section.responses for section in sections)),
        },
    }


def _all(*parts: Mapping[str, Schema]) -> dict[str, Schema]:
    together: dict[str, Schema] = {}
    for part in parts:
        merge(together, part)
    return together
