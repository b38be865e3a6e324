"""Does a real answer keep what the OpenAPI document promises? For tests that talk to a running broker."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator

from broker.api.openapi import document
from handlers.registry import Registry

METHODS = frozenset({"get", "post", "put", "patch", "delete"})


def check_answer(method: str, path: str, response: httpx.Response) -> None:
    """Fail unless the document lists this answer to `method path` (a query is ignored) and its body fits the schema."""
    installed_contract().check_answer(method, path, response)


def check_event(headers: Mapping[str, str], body: bytes) -> None:
    """Fail unless a webhook's headers (any case) and bytes are what the document promises."""
    installed_contract().check_event(headers, body)


@cache
def installed_contract() -> Contract:
    return Contract(document(Registry.installed()))


class Contract:
    """An OpenAPI document as a judge of what was really sent."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self._components = document["components"]

    def operation(self, method: str, path: str) -> Mapping[str, Any] | None:
        """The description of `method path`, HEAD as GET; None if the path lacks the method. Fails for no such path."""
        item = self._item(path)
        found: Mapping[str, Any] | None = item.get({"head": "get"}.get(method.lower(), method.lower()))
        return found

    def check_answer(self, method: str, path: str, response: httpx.Response) -> None:
        operation = self.operation(method, path) or self._any_operation(path, response)
        listed = operation["responses"]
        code = str(response.status_code)
        assert code in listed, f"{method} {path} answered {code}, documented are {sorted(listed)}: {response.text}"
        promised = self.resolve(listed[code])
        for name, header in promised.get("headers", {}).items():
            assert name in response.headers, f"{method} {path} {code} lacks the header {name}"
            self.check_value(_typed(response.headers[name], header["schema"]), header["schema"])
        if method.upper() == "HEAD":
            assert response.content == b"", f"an answer to HEAD has a body: {response.text}"
            return
        self._check_body(promised.get("content", {}), response)

    def check_event(self, headers: Mapping[str, str], body: bytes) -> None:
        (item,) = self.document["webhooks"].values()
        operation = item["post"]
        sent = {name.lower(): value for name, value in headers.items()}
        for parameter in operation["parameters"]:
            assert parameter["name"] in sent, f"the webhook lacks {parameter['name']}"
            self.check_value(sent[parameter["name"]], parameter["schema"])
        self._check_media_type(operation["requestBody"]["content"], sent.get("content-type", ""))
        self.check_value(json.loads(body), operation["requestBody"]["content"]["application/json"]["schema"])

    def check_value(self, value: Any, schema: Mapping[str, Any]) -> None:
        """Fail unless the value fits the schema, formats included."""
        errors = self.errors(value, schema)
        assert not errors, "\n".join(errors)

    def errors(self, value: Any, schema: Mapping[str, Any]) -> list[str]:
        """What is wrong with the value, each with its place."""
        validator = Draft202012Validator(
            {**schema, "components": self._components}, format_checker=Draft202012Validator.FORMAT_CHECKER
        )
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]

    def resolve(self, thing: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a reference leads to."""
        while "$ref" in thing:
            found: Any = self.document
            for step in thing["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            thing = found
        return thing

    def _item(self, path: str) -> Mapping[str, Any]:
        path = path.partition("?")[0].rstrip("/")
        if path in self.document["paths"]:  # what is concrete comes before what is templated
            exact: Mapping[str, Any] = self.document["paths"][path]
            return exact
        found = [item for template, item in self.document["paths"].items() if self._matches(template, item, path)]
        assert len(found) == 1, f"{path} is {len(found)} times in the document"
        item: Mapping[str, Any] = found[0]
        return item

    def _matches(self, template: str, item: Mapping[str, Any], path: str) -> bool:
        operations = [item[method] for method in METHODS if method in item]
        parameters = [*item.get("parameters", ()), *(one for op in operations for one in op.get("parameters", ()))]
        long = {one["name"] for one in parameters if one.get("x-multi-segment")}
        parts = re.split(r"\{(\w+)\}", template)
        steps = [
            (".+" if part in long else "[^/]+") if place % 2 else re.escape(part) for place, part in enumerate(parts)
        ]
        return re.fullmatch("".join(steps), path) is not None

    def _any_operation(self, path: str, response: httpx.Response) -> Mapping[str, Any]:
        """A method that the path does not have must be answered 405, which each of its operations describes."""
        assert response.status_code == 405, f"an undocumented method of {path} answered {response.status_code}"
        item = self._item(path)
        operation: Mapping[str, Any] = next(item[method] for method in METHODS if method in item)
        return operation

    def _check_body(self, content: Mapping[str, Any], response: httpx.Response) -> None:
        if response.status_code == 204:
            assert (content, response.content) == ({}, b""), f"an answer 204 has a body: {response.text}"
            return
        media = self._check_media_type(content, response.headers.get("content-type", ""))
        if media == "application/json":
            self.check_value(response.json(), content[media]["schema"])

    def _check_media_type(self, content: Mapping[str, Any], sent: str) -> str:
        """The documented media type or range that the sent one belongs to."""
        sent = sent.partition(";")[0].strip().lower()
        for documented in (sent, sent.partition("/")[0] + "/*", "*/*"):
            if documented in content:
                return documented
        raise AssertionError(f"media type {sent!r}, documented are {sorted(content)}")


def _typed(text: str, schema: Mapping[str, Any]) -> Any:
    """A header's text as the type that its schema asks for."""
    return int(text) if schema.get("type") == "integer" and text.isdigit() else text
