"""How our own operations describe themselves for OpenAPI: the right, the options in both their forms. Pure."""

from __future__ import annotations

from broker.api.description import parameter, secured
from broker.api.own_examples import REQUESTS
from broker.api.own_options import Options
from broker.api.schemas import Schema, model_schemas, ref


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
