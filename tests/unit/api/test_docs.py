"""The readable page: it shows what the document says, and what another party writes cannot break out of its text."""

from __future__ import annotations

import json
import re
import shlex
from html.parser import HTMLParser
from typing import Any

import pytest
from pydantic import BaseModel, Field

from broker.api.docs import HEADERS, render
from broker.api.fields import Fields
from broker.api.openapi import document
from broker.api.reference import Operation, reference
from broker.api.schemas import model_schemas, ref
from handlers.contract import Params, Spec
from handlers.registry import Registry

BASE = "https://broker.example.com/prefix"
INSTALLED = Registry.installed()
DOCUMENT = document(INSTALLED)
CONTENTS = reference(DOCUMENT, INSTALLED, BASE)
HOSTILE = "<script>alert('x')</script>"


class Inner(BaseModel):
    """Another object."""

    label: str | None = Field(None, max_length=9)


class Node(BaseModel):
    """An object that holds objects of its own kind."""

    size: int = Field(3, ge=1, le=8)
    inner: list[Inner] = Field(description="All of them.")
    children: list[Node]
    scores: dict[str, float]


class HostileParams(Params):
    __doc__ = HOSTILE

    text: str = Field(HOSTILE, description=f"`{HOSTILE}` {HOSTILE}")


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(attribute))]


def operations() -> list[Operation]:
    return [operation for group in CONTENTS.groups for operation in group.operations]


def test_every_operation_webhook_type_and_endpoint_is_on_the_page() -> None:
    text = Page(render(CONTENTS, "./")).text
    for path, item in DOCUMENT["paths"].items():
        assert path in text
        for operation in item.values():
            assert isinstance(operation, list) or operation["summary"] in text
    for spec in INSTALLED.values():
        assert spec.summary in text
        assert all(endpoint in text for endpoint in spec.endpoints)
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= set(re.findall(r"webhook-\w+", text))
    assert "def verify(" in text


def test_the_page_brings_no_script_and_no_inline_style() -> None:
    page = Page(render(CONTENTS, "../"))
    assert not {"script", "style"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name == "style" or name.startswith("on")]
    assert "default-src 'none'" in HEADERS["Content-Security-Policy"]
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


def test_links_stay_on_the_page_or_below_the_service() -> None:
    page = Page(render(CONTENTS, "../"))
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    for link in (*page.all("href"), *page.all("src")):
        assert (link[1:] in ids) if link.startswith("#") else link.startswith(("../static/", "../openapi.json")), link


def test_what_another_party_writes_stays_text() -> None:
    spec = Spec(HOSTILE, {HOSTILE: HostileParams}, HOSTILE, "nowhere:Nothing", HOSTILE)
    registry = Registry({spec.type: spec})
    page = Page(render(reference(document(registry), registry, BASE), "./"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(HOSTILE) >= 6


def test_endpoints_with_the_same_parameters_share_a_table() -> None:
    (upscaler,) = (type for type in CONTENTS.types if type.name == "upscaler")
    (endpoints,) = upscaler.endpoints
    assert list(endpoints.names) == ["upscale_2x", "upscale_4x", "upscale_8x"]
    assert [(field.name, field.default) for field in endpoints.params] == [
        ("mode", ""),
        ("model_type", '"gan"'),
    ]


def test_calls_are_shell_commands_that_send_the_documents_examples() -> None:
    (submit,) = (operation for operation in operations() if operation.anchor == "submitrequest")
    content = DOCUMENT["paths"][submit.path]["post"]["requestBody"]["content"]["application/json"]
    examples = list(content["examples"].values())
    assert [call.title for call in submit.calls] == [example["summary"] for example in examples]
    for call, example in zip(submit.calls, examples, strict=True):
        words = shlex.split(call.text.replace("\\\n", " "))
        assert words[:4] == ["curl", "-X", "POST", BASE + submit.path]
        assert json.loads(words[-1]) == example["value"]


def test_calls_leave_no_variable_open_and_send_a_token_only_where_one_is_needed() -> None:
    for operation in operations():
        for call in operation.calls:
            words = shlex.split(call.text.replace("\\\n", " "))
            assert any(word.startswith(BASE + "/") for word in words)
            assert "{" not in words[1]
            assert ("Authorization: Token $BROKER_TOKEN" in words) is not operation.public


def test_fields_of_nested_and_recursive_models() -> None:
    fields = Fields({"components": {"schemas": model_schemas("", [Node], "validation")}})
    rows = {row.path: row for row in fields.of_schema(ref("Node"))}
    assert {path: row.type for path, row in rows.items()} == {
        "size": "integer, 1 to 8",
        "inner": "list of object",
        "inner[].label": "string, at most 9 characters",
        "children": "list of object",
        "children[].size": "integer, 1 to 8",
        "children[].inner": "list of object",
        "children[].inner[].label": "string, at most 9 characters",
        "children[].children": "list of object",
        "children[].scores": "object of number",
        "scores": "object of number",
    }
    assert [path for path, row in rows.items() if row.required and "." not in path] == ["inner", "children", "scores"]
    assert (rows["size"].default, rows["inner"].description) == ("3", "All of them.")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"const": "DONE"}, '"DONE"'),
        ({"enum": ["a", 1]}, '"a" | 1'),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 3}, "list of string, 2 to 3"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}]}, "string (uri) | null"),
        ({"type": "number", "minimum": 0}, "number, at least 0"),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, "number, over 0, under 1"),
        ({}, "any"),
    ],
)
def test_types_in_words(schema: dict[str, Any], words: str) -> None:
    (row,) = Fields({}).of_schema({"type": "object", "properties": {"key": schema}})
    assert row.type == words


def test_a_key_is_always_there_only_if_every_shape_has_it() -> None:
    rows = {row.path: row for row in Fields(DOCUMENT).of_schema(ref("XimilarDetails"))}
    assert rows["modified"].required
    assert not rows["response"].required
    assert rows["status"].type == '"CREATED" | "PROCESSING" | "DONE"'
    assert rows["response.records[]._status.code"].type == "integer, 200 to 599"


def test_a_body_with_variants_shows_what_they_have_in_common() -> None:
    rows = {row.path for row in Fields(DOCUMENT).of_schema(ref("XimilarRequest"))}
    assert {"type", "endpoint", "records", "records[]._url", "records[]._base64", "webhook.headers"} <= rows
    assert "mode" not in rows
