"""JSON Schema -> rows of a table: every key of a body by its dotted name, with its type in words. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

_NULL = {"type": "null"}
_Properties: TypeAlias = dict[str, tuple[Mapping[str, Any], bool]]


@dataclass(frozen=True, slots=True)
class Field:
    """A row. `path` is the name with dots, from the outermost object on; `default` is JSON, empty if there is none."""

    path: str
    type: str
    required: bool
    description: str
    default: str = ""
    place: str = ""

    @property
    def outer(self) -> Sequence[str]:
        """The steps of the path before the last."""
        return self.path.split(".")[:-1]

    @property
    def name(self) -> str:
        """The last step of the path."""
        return self.path.rpartition(".")[2]


class Fields:
    """Reads the schemas of one document, following its references."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def resolve(self, thing: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a reference leads to, under the keys beside the reference."""
        if "$ref" not in thing:
            return thing
        found: Any = self._document
        for step in thing["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return {**self.resolve(found), **{key: value for key, value in thing.items() if key != "$ref"}}

    def of_parameter(self, parameter: Mapping[str, Any]) -> Field:
        row = self._row(parameter["name"], parameter["schema"], required=parameter.get("required", False))
        return replace(row, description=parameter["description"], place=parameter["in"])

    def of_schema(self, schema: Mapping[str, Any]) -> list[Field]:
        """The rows of an object and of the objects inside it."""
        return list(self._rows(schema, "", ()))

    def _rows(self, schema: Mapping[str, Any], prefix: str, above: Sequence[str]) -> Iterator[Field]:
        for name, (property, required) in self._properties(schema).items():
            row = self._row(prefix + name, property, required=required)
            yield row
            inner, joint = self._inner(property)
            reference = str(inner.get("$ref", ""))
            if not reference or reference not in above:
                yield from self._rows(inner, row.path + joint, (*above, reference))

    def _properties(self, schema: Mapping[str, Any]) -> _Properties:
        """Name -> schema and whether it is required. Alternatives count only where nothing stands beside them."""
        schema = self.resolve(schema)
        required = schema.get("required", ())
        found = {name: (property, name in required) for name, property in schema.get("properties", {}).items()}
        for part in schema.get("allOf", ()):
            found = {**found, **self._properties(part)}
        return found or _in_any([self._properties(shape) for shape in _alternatives(schema)])

    def _row(self, path: str, schema: Mapping[str, Any], *, required: bool) -> Field:
        schema = self.resolve(schema)
        default = json.dumps(schema["default"], ensure_ascii=False) if "default" in schema else ""
        return Field(path, self._type(schema), required, schema.get("description", ""), default)

    def _inner(self, schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
        """The object inside a property, and what joins the property's name and a key of that object."""
        whole = self.resolve(schema)
        others = [choice for choice in _alternatives(whole) if choice != _NULL]
        if "properties" not in whole and len(others) == 1:
            return self._inner(others[0])
        if "items" in whole:
            inner, joint = self._inner(whole["items"])
            return inner, "[]" + joint
        return schema, "."

    def _type(self, schema: Mapping[str, Any]) -> str:
        """A schema in a few words: `list of string, 1 to 10`."""
        schema = self.resolve(schema)
        if "const" in schema:
            return json.dumps(schema["const"], ensure_ascii=False)
        if "enum" in schema:
            return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
        if "properties" not in schema and (choices := _alternatives(schema)):
            return " | ".join(dict.fromkeys(self._type(choice) for choice in choices))
        if "items" in schema:
            return f"list of {self._type(schema['items'])}" + _span(schema, "minItems", "maxItems")
        if isinstance(schema.get("additionalProperties"), dict):
            return f"object of {self._type(schema['additionalProperties'])}"
        named = schema.get("type", "object" if "properties" in schema else "any")
        words = named if isinstance(named, str) else " | ".join(named)
        if "format" in schema:
            words += f" ({schema['format']})"
        if "maxLength" in schema:
            words += _span(schema, "minLength", "maxLength") + " characters"
        return words + _span(schema, "minimum", "maximum") + _open_span(schema)


def _alternatives(schema: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [*schema.get("oneOf", ()), *schema.get("anyOf", ())]


def _in_any(shapes: Sequence[_Properties]) -> _Properties:
    """The keys of several shapes: required is what every shape requires."""
    found: _Properties = {}
    for name in dict.fromkeys(name for shape in shapes for name in shape):
        having = [shape[name] for shape in shapes if name in shape]
        always = len(having) == len(shapes) and all(required for _, required in having)
        first, *others = [property for property, _ in having]
        description = {key: value for key, value in first.items() if key == "description"}
        joined = {"anyOf": [first, *others], **description} if others and any(first != one for one in others) else first
        found[name] = (joined, always)
    return found


def _span(schema: Mapping[str, Any], least: str, most: str) -> str:
    low, high = schema.get(least), schema.get(most)
    if low is None and high is None:
        return ""
    if high is None:
        return f", at least {low}"
    return f", at most {high}" if low is None else f", {low} to {high}"


def _open_span(schema: Mapping[str, Any]) -> str:
    bounds = {"over": schema.get("exclusiveMinimum"), "under": schema.get("exclusiveMaximum")}
    return "".join(f", {word} {bound}" for word, bound in bounds.items() if bound is not None)
