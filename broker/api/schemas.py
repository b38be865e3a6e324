"""pydantic models -> the schemas of an OpenAPI document, under names that do not collide. Pure."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from handlers.contract import Params, ParamsClass
from handlers.registry import Registry

Schema: TypeAlias = dict[str, Any]
_PLACE = "#/components/schemas/"


class _Generator(GenerateJsonSchema):
    """Says less than pydantic by itself: no titles made of field names, and for a key that may be missing no null."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        if made.get("default", ...) is not None:
            return made
        del made["default"]
        others = [choice for choice in made.get("anyOf", ()) if choice != {"type": "null"}]
        if len(others) != 1:
            return made
        return {**others[0], **{key: value for key, value in made.items() if key != "anyOf"}}


def model_schemas(prefix: str, models: Sequence[type[BaseModel]], mode: JsonSchemaMode) -> dict[str, Schema]:
    """Component name -> schema of the models and of all that they hold. The name is the prefix and the class's name."""
    _, made = models_json_schema(
        [(model, mode) for model in models],
        ref_template=f"{_PLACE}{prefix}{{model}}",
        schema_generator=_Generator,
    )
    return {prefix + name: schema for name, schema in made.get("$defs", {}).items()}


def params_name(type: str, endpoint: str) -> str:
    """The component that describes an endpoint's parameters: upscaler, upscale_2x -> UpscalerUpscale2xParams."""
    return f"{_camel(type)}{_camel(endpoint)}Params"


def params_schemas(registry: Registry) -> dict[str, Schema]:
    """Component name -> schema, of the parameters of every installed endpoint."""
    found: dict[str, Schema] = {}
    for spec in registry.values():
        for endpoint, model in spec.endpoints.items():
            merge(found, _params_schema(params_name(spec.type, endpoint), model))
    return found


def merge(into: dict[str, Schema], more: Mapping[str, Schema]) -> None:
    """Add components. Raises ValueError for a name that means something else already."""
    for name, schema in more.items():
        if into.setdefault(name, schema) != schema:
            raise ValueError(f"two things in the API's description are named {name}")


def ref(name: str) -> Schema:
    """A reference to the schema of that component name."""
    return {"$ref": _PLACE + name}


def _params_schema(name: str, model: ParamsClass) -> dict[str, Schema]:
    """The model under `name`, and the models inside it under names that begin with `name`."""
    schema = model.model_json_schema(ref_template=f"{_PLACE}{name}_{{model}}", schema_generator=_Generator)
    inner = schema.pop("$defs", {})
    schema.pop("title", None)
    # The parameters lie among the keys of the whole body, so a model cannot speak for the keys that it does not know.
    schema.pop("additionalProperties", None)
    if (text := inspect.getdoc(model)) != Params.__doc__:
        schema["description"] = text
    return {name: schema, **{f"{name}_{part}": definition for part, definition in inner.items()}}


def _camel(text: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", text))
