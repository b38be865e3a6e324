"""The OpenAPI document: valid, complete, and true to the routes, the types and the dialect's errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any, Literal

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, ConfigDict, Field
from starlette.routing import Mount, Route
from starlette.types import Message

from broker.api import app
from broker.api.openapi import document
from broker.dialects.ximilar import codec
from broker.dialects.ximilar.submission import parse_submission
from broker.errors import BrokerError, MethodNotAllowed
from handlers.contract import Params, Spec
from handlers.registry import Registry
from tests.openapi_check import METHODS, Contract

INSTALLED = Registry.installed()
DOCUMENT = document(INSTALLED)
RECORDS = [{"_url": "https://images.example.com/a.jpg"}]


class Border(BaseModel):
    width: int = Field(ge=0, description="In pixels.")


class StampParams(Params):
    """What is written where."""

    text: str = Field(description="What is written.")
    place: Literal["top", "bottom"] = "bottom"
    border: Border | None = None


class CountParams(Params):
    model_config = ConfigDict(extra="forbid", frozen=True)

    most: int = 10


STAMPER = Spec(
    type="stamp-it",
    endpoints={"stamp_text": StampParams, "count": CountParams},
    default_endpoint="count",
    handler="nowhere:Nothing",
    summary="Stamps.",
)
WITH_STAMPER = document(Registry({**INSTALLED, STAMPER.type: STAMPER}))


async def nothing() -> Message:
    raise AssertionError("a wrong method's body is read")


async def unsent(message: Message) -> None:
    raise AssertionError(f"a wrong method is answered with {message}")


async def methods_of(route: Route) -> set[str]:
    """The methods that a route names when it is asked with another one."""
    scope = {"type": "http", "method": "OPTIONS", "path": route.path, "headers": [], "query_string": b""}
    with pytest.raises(MethodNotAllowed) as refused:
        await route.app(scope, nothing, unsent)
    return set(refused.value.allowed)


def kinds_of_error(root: type[BrokerError] = BrokerError) -> Iterator[type[BrokerError]]:
    """Those of the service; other modules, like the commands', have some of their own."""
    for kind in root.__subclasses__():
        if kind.__module__ == BrokerError.__module__:
            yield kind
            yield from kinds_of_error(kind)


def with_examples(node: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(where, schema, example) of every example beside a schema."""
    if isinstance(node, list):
        for place, item in enumerate(node):
            yield from with_examples(item, f"{path}/{place}")
    if not isinstance(node, dict):
        return
    if "schema" in node:
        for name, example in node.get("examples", {}).items():
            yield f"{path}/{name}", node["schema"], example["value"]
        if "example" in node:
            yield path, node["schema"], node["example"]
    for key, item in node.items():
        yield from with_examples(item, f"{path}/{key}")


def json_contents(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(where, media type object) of every JSON body."""
    for key, item in node.items() if isinstance(node, dict) else ():
        if key == "application/json":
            yield path, item
        yield from json_contents(item, f"{path}/{key}")


def request_errors(openapi: Mapping[str, Any], body: Mapping[str, Any]) -> list[str]:
    return Contract(openapi).errors(body, {"$ref": "#/components/schemas/XimilarRequest"})


@pytest.mark.parametrize(
    "registry",
    [INSTALLED, Registry({**INSTALLED, STAMPER.type: STAMPER}), Registry({})],
    ids=["installed", "with another party's", "no type at all"],
)
def test_the_document_is_valid_openapi_31(registry: Registry) -> None:
    made = document(registry)
    OpenAPIV31SpecValidator(made).validate()
    assert made["openapi"].startswith("3.1")
    assert json.loads(json.dumps(made)) == made


def test_the_version_is_the_installed_packages() -> None:
    assert DOCUMENT["info"]["version"] == version("image-broker")


async def test_document_and_routes_have_the_same_addresses_and_methods() -> None:
    served: dict[str, set[str]] = {}
    for route in app.routes():
        if isinstance(route, Route):
            served.setdefault(re.sub(r":\w+}", "}", route.path).rstrip("/") or "/", set()).update(
                await methods_of(route)
            )
    documented = {
        path: {method.upper() for method in item if method in METHODS} for path, item in DOCUMENT["paths"].items()
    }
    assert {path: methods - {"HEAD"} for path, methods in served.items()} == documented
    assert {path for path, methods in served.items() if "GET" in methods} == {
        path for path, methods in served.items() if "HEAD" in methods
    }


def test_only_assets_are_served_undocumented() -> None:
    others = [route for route in app.routes() if not isinstance(route, Route)]
    assert [route.path for route in others if isinstance(route, Mount)] == ["/static"]
    assert len(others) == 1


@pytest.mark.parametrize("spec", [*INSTALLED.values(), STAMPER], ids=lambda spec: spec.type)
def test_every_setting_of_every_endpoint_is_described(spec: Spec) -> None:
    schemas = WITH_STAMPER["components"]["schemas"]
    for endpoint, model in spec.endpoints.items():
        words = re.split("[^A-Za-z0-9]+", f"{spec.type} {endpoint}")
        described = schemas["".join(word[0].upper() + word[1:] for word in words) + "Params"]
        assert set(described["properties"]) == {field.alias or name for name, field in model.model_fields.items()}


def test_another_partys_type_shows_its_parameters() -> None:
    schemas = WITH_STAMPER["components"]["schemas"]
    stamp = schemas["StampItStampTextParams"]
    assert stamp["description"] == "What is written where."
    assert stamp["required"] == ["text"]
    assert stamp["properties"]["text"] == {"type": "string", "description": "What is written."}
    assert stamp["properties"]["place"] == {"type": "string", "enum": ["top", "bottom"], "default": "bottom"}
    assert stamp["properties"]["border"] == {"$ref": "#/components/schemas/StampItStampTextParams_Border"}
    assert schemas["StampItStampTextParams_Border"]["properties"]["width"]["minimum"] == 0
    assert not any(name.startswith("StampIt") for name in DOCUMENT["components"]["schemas"])


@pytest.mark.parametrize(
    "body",
    [
        {"type": "stamp-it", "endpoint": "stamp_text", "text": "mine", "border": {"width": 2}},
        {"type": "stamp-it"},
        {"type": "stamp-it", "endpoint": "count", "most": 3, "of my own": True},
        {"type": "upscaler", "mode": "ironed_out"},
        {"type": "upscaler", "endpoint": "upscale_8x", "place": "a word that only another type knows"},
    ],
)
def test_a_good_body_fits_exactly_one_variant(body: dict[str, Any]) -> None:
    assert request_errors(WITH_STAMPER, {**body, "records": RECORDS}) == []


@pytest.mark.parametrize(
    "body",
    [
        {"type": "stamp-it", "endpoint": "stamp_text", "records": RECORDS},
        {"type": "stamp-it", "endpoint": "stamp_text", "text": "mine", "place": "left", "records": RECORDS},
        {"type": "stamp-it", "endpoint": "stamp_text", "text": "a", "border": {"width": -1}, "records": RECORDS},
        {"type": "stamp-it", "endpoint": "upscale_2x", "records": RECORDS},
        {"type": "upscaler", "endpoint": "upscale_3x", "records": RECORDS},
        {"type": "upscaler", "mode": "none", "records": RECORDS},
        {"type": "no-such-type", "records": RECORDS},
        {"records": RECORDS},
        {"type": "upscaler"},
        {"type": "upscaler", "records": []},
        {"type": "upscaler", "records": RECORDS * 11},
        {"type": "upscaler", "records": [{}]},
        {"type": "upscaler", "records": [{"_url": "https://images.example.com/a.jpg", "_base64": "aGk="}]},
        {"type": "upscaler", "records": RECORDS, "webhook": {"headers": {}}},
        {"type": "upscaler", "records": RECORDS, "workspace": "mine"},
    ],
)
def test_a_body_that_is_refused_fits_no_variant(body: dict[str, Any]) -> None:
    assert request_errors(WITH_STAMPER, body)


def test_every_example_fits_its_schema() -> None:
    examples = list(with_examples(DOCUMENT))
    assert len(examples) > 20
    for where, schema, example in examples:
        assert Contract(DOCUMENT).errors(example, schema) == [], where


def test_every_json_answer_and_body_of_the_dialect_has_an_example() -> None:
    contents = [content for path, content in json_contents(DOCUMENT) if "/account" in path or "Ximilar" in path]
    contents += [content for path, content in json_contents(DOCUMENT) if "/api/" in path and "/responses/" in path]
    assert len(contents) > 10
    assert all(content["examples"] for content in contents)


def test_the_examples_of_a_post_are_accepted_by_the_dialect_and_the_type() -> None:
    content = DOCUMENT["paths"]["/account/v2/request"]["post"]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        submission = parse_submission(json.dumps(example["value"]).encode(), lambda url: None)
        spec = INSTALLED[submission.type]
        spec.endpoints[submission.endpoint or spec.default_endpoint].model_validate(submission.params)


def test_examples_of_a_type_that_is_not_installed_are_left_out() -> None:
    made = document(Registry({STAMPER.type: STAMPER}))
    content = made["paths"]["/account/v2/request"]["post"]["requestBody"]["content"]["application/json"]
    assert content["examples"] == {}


def test_every_error_of_the_dialect_has_a_response() -> None:
    responses = DOCUMENT["components"]["responses"]
    codes = set()
    for kind in kinds_of_error():
        shaped = codec.render_error(MethodNotAllowed("PUT", ["GET"]) if kind is MethodNotAllowed else kind())
        if shaped.status_code == 500:
            continue
        codes.add(shaped.status_code)
        schema = responses[f"Ximilar{shaped.status_code}"]["content"]["application/json"]["schema"]
        assert Contract(DOCUMENT).errors(json.loads(shaped.body), schema) == []
    assert codes >= {400, 401, 403, 404, 405, 410, 413, 415, 429, 503}
    assert {f"Ximilar{code}" for code in codes} == set(responses)


@pytest.mark.parametrize(
    ("code", "header"), [(401, "WWW-Authenticate"), (405, "Allow"), (429, "Retry-After"), (503, "Retry-After")]
)
def test_headers_of_an_error_are_promised(code: int, header: str) -> None:
    assert DOCUMENT["components"]["responses"][f"Ximilar{code}"]["headers"][header]["required"] is True


def right_of(method: str, path: str) -> str | None:
    """The right that an operation needs; None where no token is asked for."""
    if path.startswith("/account/"):
        return "submit" if method == "post" else "read"
    if path.startswith(("/api/workspace/", "/api/webhook-secret")) or method == "delete" or path.endswith("/enable"):
        return "admin"
    if path.startswith("/api/"):
        return "submit" if method == "post" else "read"
    return None


def test_every_operation_takes_the_token_in_all_three_forms_and_names_the_right() -> None:
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS & set(item):
            right = right_of(method, path)
            secured = [{"token": [right]}, {"bearer": [right]}, {"jwt": [right]}]
            assert item[method]["security"] == (secured if right else []), path
            assert right is None or f"Needs the right `{right}`." in item[method]["description"], path


def test_the_webhook_carries_the_three_headers_of_standard_webhooks() -> None:
    (item,) = DOCUMENT["webhooks"].values()
    required = {one["name"] for one in item["post"]["parameters"] if one["in"] == "header" and one["required"]}
    assert required == {"webhook-id", "webhook-timestamp", "webhook-signature"}


def test_two_endpoints_whose_descriptions_would_have_one_name_are_refused() -> None:
    first = Spec("a-b", {"c": CountParams}, "c", "nowhere:Nothing", "First.")
    second = Spec("a", {"b_c": StampParams}, "b_c", "nowhere:Nothing", "Second.")
    with pytest.raises(ValueError, match="ABCParams"):
        document(Registry({"a-b": first, "a": second}))
