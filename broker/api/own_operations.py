"""How our own operations describe themselves for OpenAPI: the right, the options in both their forms. Pure."""

from __future__ import annotations

from typing import Any

from broker.api.description import parameter, secured
from broker.api.own_examples import REQUESTS
from broker.api.own_options import Options
from broker.api.own_wire import MAX_PAGE_SIZE, PAGE_SIZE
from broker.api.schemas import Schema, model_schemas, ref

LOOKED_IN = parameter(
    "workspace",
    {"type": "string", "format": "uuid"},
    "Look in this workspace only; default: in all that the token may use.",
)


def operation(tag: str, operation_id: str, right: str, summary: str, description: str) -> Schema:
    """An operation that needs a token with that right."""
    return {
        "tags": [tag],
        "operationId": operation_id,
        "summary": summary,
        "description": f"{description} Needs the right `{right}`.",
        "security": secured(right),
    }


def options(model: type[Options]) -> Schema:
    """The options of a POST, in both forms that they may have."""
    examples = {
        summary.lower().replace(" ", "_"): {"summary": summary, "value": value}
        for summary, value in REQUESTS.get(model, {}).items()
    }
    body = {"schema": ref(model.__name__), **({"examples": examples} if examples else {})}
    properties = model_schemas("", (model,), "validation")[model.__name__]["properties"]
    return {
        "requestBody": {"required": False, "content": {"application/json": body}},
        "parameters": [
            parameter(name, {key: part for key, part in schema.items() if key != "description"}, schema["description"])
            for name, schema in properties.items()
        ],
    }


def page_parameters(things: str) -> list[Schema]:
    """Which page of a list, and how many things it has."""
    positive = {"type": "integer", "minimum": 1}
    return [
        parameter("page", {**positive, "default": 1}, "Which page. One after the last is a 404."),
        parameter(
            "page_size",
            {**positive, "default": PAGE_SIZE},
            f"{things} on a page, at most {MAX_PAGE_SIZE}; more counts as {MAX_PAGE_SIZE}.",
        ),
    ]


def filter_by(name: str, item: dict[str, Any], description: str) -> Schema:
    """A parameter that may be repeated, or hold several values with commas between them."""
    schema = {"type": "array", "items": {"type": "string", **item}}
    return parameter(name, schema, f"{description} Several: repeated, or with commas.")
