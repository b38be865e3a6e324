"""The OpenAPI document as the page `/docs` shows it: operations by tag, bodies as tables, types, webhooks. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from broker.api.fields import Field, Fields
from broker.api.schemas import params_name
from handlers.contract import Spec
from handlers.registry import Registry

METHODS = frozenset({"get", "post", "put", "patch", "delete"})
WIDTH = 84


@dataclass(frozen=True, slots=True)
class Example:
    """A piece of code or JSON with its title."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One status code. `headers`: name -> description."""

    code: str
    description: str
    headers: Mapping[str, str]
    fields: Sequence[Field]
    examples: Sequence[Example]

    @property
    def good(self) -> bool:
        return self.code.startswith("2")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address, or a webhook, whose `path` is its name. `anchor` is its id on the page."""

    anchor: str
    method: str
    path: str
    summary: str
    description: str
    public: bool
    parameters: Sequence[Field]
    body: Sequence[Field]
    calls: Sequence[Example]
    answers: Sequence[Answer]


@dataclass(frozen=True, slots=True)
class Group:
    """A tag with its operations."""

    anchor: str
    title: str
    description: str
    operations: Sequence[Operation]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Endpoints of a type that take the same parameters."""

    names: Sequence[str]
    description: str
    params: Sequence[Field]


@dataclass(frozen=True, slots=True)
class Type:
    """A type of work with what can be asked of it."""

    name: str
    summary: str
    default_endpoint: str
    endpoints: Sequence[Endpoints]


@dataclass(frozen=True, slots=True)
class Reference:
    """Everything on the page. The descriptions are plain text with `code` in backticks."""

    title: str
    version: str
    description: str
    groups: Sequence[Group]
    webhooks: Sequence[Operation]
    types: Sequence[Type]


def reference(document: Mapping[str, Any], registry: Registry, base_url: str) -> Reference:
    """The page's contents; examples call `base_url`."""
    reader = _Reader(document, base_url)
    return Reference(
        title=document["info"]["title"],
        version=document["info"]["version"],
        description=document["info"]["description"],
        groups=[reader.group(tag) for tag in document["tags"]],
        webhooks=[reader.operation(name, "post", item["post"], []) for name, item in document["webhooks"].items()],
        types=[reader.type(spec) for spec in registry.values()],
    )


class _Reader:
    """Reads one document."""

    def __init__(self, document: Mapping[str, Any], base_url: str) -> None:
        self._document = document
        self._base_url = base_url
        self._fields = Fields(document)

    def group(self, tag: Mapping[str, str]) -> Group:
        operations = [
            self.operation(path, method, item[method], item.get("parameters", []))
            for path, item in self._document["paths"].items()
            for method in item
            if method in METHODS and tag["name"] in item[method]["tags"]
        ]
        return Group(_anchor(tag["name"]), tag["name"], tag["description"], operations)

    def operation(self, path: str, method: str, found: Mapping[str, Any], shared: Sequence[Any]) -> Operation:
        parameters = [*shared, *found.get("parameters", [])]
        content = found.get("requestBody", {}).get("content", {}).get("application/json", {})
        return Operation(
            anchor=_anchor(found["operationId"]),
            method=method.upper(),
            path=path,
            summary=found["summary"],
            description=found.get("description", ""),
            public=not found["security"],
            parameters=[self._fields.of_parameter(parameter) for parameter in parameters],
            body=self._fields.of_schema(content.get("schema", {})),
            calls=list(self._calls(path, method, content, parameters, public=not found["security"])),
            answers=[self._answer(code, response) for code, response in found["responses"].items()],
        )

    def type(self, spec: Spec) -> Type:
        groups: list[Endpoints] = []
        for endpoint in spec.endpoints:
            schema = self._document["components"]["schemas"][params_name(spec.type, endpoint)]
            params, description = self._fields.of_schema(schema), schema.get("description", "")
            if groups and (groups[-1].params, groups[-1].description) == (params, description):
                groups[-1] = Endpoints([*groups[-1].names, endpoint], description, params)
            else:
                groups.append(Endpoints([endpoint], description, params))
        return Type(spec.type, spec.summary, spec.default_endpoint, groups)

    def _answer(self, code: str, response: Mapping[str, Any]) -> Answer:
        response = self._fields.resolve(response)
        content = response.get("content", {}).get("application/json", {})
        return Answer(
            code=code,
            description=response["description"],
            headers={name: header["description"] for name, header in response.get("headers", {}).items()},
            fields=self._fields.of_schema(content.get("schema", {})) if code.startswith("2") else [],
            examples=[Example("Example", text) for text in _values(content)],
        )

    def _calls(
        self, path: str, method: str, content: Mapping[str, Any], parameters: Sequence[Any], *, public: bool
    ) -> Iterator[Example]:
        """One call by curl for every example of the body; webhooks, which others call, show the bare body."""
        bodies = [
            (example.get("summary", "Example"), example["value"]) for example in content.get("examples", {}).values()
        ]
        if not path.startswith("/"):
            yield from (Example(title, _pretty(value)) for title, value in bodies)
            return
        first = (
            f"curl{'' if method == 'get' else f' -X {method.upper()}'} {shlex.quote(self._address(path, parameters))}"
        )
        if not public:
            first += ' \\\n  -H "Authorization: Token $BROKER_TOKEN"'
        if not bodies:
            yield Example("Call", first)
        for title, value in bodies:
            sent = shlex.quote(_pretty(value, "  "))
            yield Example(title, f'{first} \\\n  -H "Content-Type: application/json" \\\n  -d {sent}')

    def _address(self, path: str, parameters: Sequence[Any]) -> str:
        """The address with an example of everything that it must have."""
        needed = [parameter for parameter in parameters if parameter.get("required")]
        for parameter in needed:
            path = path.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
        query = urlencode({one["name"]: one["example"] for one in needed if one["in"] == "query"})
        return self._base_url + path + (f"?{query}" if query else "")


def _values(content: Mapping[str, Any]) -> Iterator[str]:
    return (_pretty(example["value"]) for example in content.get("examples", {}).values())


def _pretty(value: Any, indent: str = "") -> str:
    """JSON whose short objects and lists stay on one line."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(line) <= WIDTH or not isinstance(value, dict | list):
        return line
    deeper = indent + "  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(name)}: {_pretty(item, deeper)}" for name, item in value.items()]
    else:
        parts = [_pretty(item, deeper) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{deeper}" + f",\n{deeper}".join(parts) + f"\n{indent}{closing}"


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
