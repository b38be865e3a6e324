"""Webhook endpoints and test pings, described for OpenAPI. Pure."""

from __future__ import annotations

from functools import partial
from typing import get_args

from broker.api import webhook_test
from broker.api.description import Section, answer, parameter, with_examples
from broker.api.endpoint import PATH
from broker.api.endpoint_examples import (
    DISABLED,
    ENABLED,
    ENDPOINT_ID,
    ENDPOINTS,
    FAILING,
    TEST,
    TEST_FAILED,
    TESTED,
)
from broker.api.endpoint_wire import HealthWord, WebhookEndpoint, WebhookEndpointPage, WebhookTest, WebhookTestResult
from broker.api.own_operations import LOOKED_IN, filter_by, operation, options, page_parameters
from broker.api.own_options import Options
from broker.api.schemas import Schema, model_schemas, ref
from broker.api.ximilar_errors import errors
from broker.ping import AT_ONCE, EACH, EVENT
from handlers.registry import Registry

TAG = "Webhook endpoints"
_operation = partial(operation, TAG)
_ID = parameter("id", {"type": "string"}, "The endpoint's id.", place="path", example=ENDPOINT_ID)


def section(_registry: Registry) -> Section:
    """The document's part about where webhooks go; its errors have the shape of the first dialect."""
    return Section(
        tag=TAG,
        description="Where webhooks go: an endpoint is one workspace's URL, whatever its query. After 4 failed tries "
        "in a row it is `failing`, and still tried. After a 410, the answer header `webhook-delivery: disable`, or 5 "
        "days of failures only it is `disabled`: what becomes due is stopped, not sent. When most tries of 5 minutes "
        "fail, its circuit breaker opens: for 30 seconds nothing is sent there, then one try decides.",
        paths={
            PATH: {"get": _list()},
            f"{PATH}/{{id}}": {"parameters": [_ID], "get": _show()},
            f"{PATH}/{{id}}/enable": {"parameters": [_ID], "post": _enable()},
            webhook_test.PATH: {"post": _test()},
        },
        schemas={
            **model_schemas("", (Options, WebhookTest), "validation"),
            **model_schemas("", (WebhookEndpoint, WebhookEndpointPage, WebhookTestResult), "serialization"),
        },
    )


def _list() -> Schema:
    return {
        **_operation("listEndpoints", "read", "List endpoints", "How healthy each is, newest first, in pages."),
        "parameters": [
            *page_parameters("Endpoints"),
            filter_by("state", {"enum": list(get_args(HealthWord))}, "Only endpoints in these states."),
            filter_by("workspace", {"format": "uuid"}, "Whose; default: the token's own workspace."),
        ],
        "responses": {
            "200": answer("A page.", ref("WebhookEndpointPage"), page=ENDPOINTS),
            **errors(400, 401, 403, 404, 503),
        },
    }


def _show() -> Schema:
    return {
        **_operation("getEndpoint", "read", "Get an endpoint", "How healthy it is."),
        "parameters": [LOOKED_IN],
        "responses": {
            "200": answer("The endpoint.", ref("WebhookEndpoint"), failing=FAILING, disabled=DISABLED),
            **errors(400, 401, 403, 404, 503),
        },
    }


def _enable() -> Schema:
    return {
        **_operation(
            "enableEndpoint",
            "admin",
            "Enable an endpoint",
            "Makes a disabled or failing one healthy, its failures forgotten and its circuit breaker closed, so that "
            "what it is owed is sent. What was stopped while it was disabled is not: replay it. A healthy one stays "
            "as it is.",
        ),
        **options(Options),
        "responses": {
            "200": answer("How it stands then.", ref("WebhookEndpoint"), enabled=ENABLED),
            **errors(400, 401, 403, 404, 413, 415, 503),
        },
    }


def _test() -> Schema:
    return {
        **_operation(
            "testWebhook",
            "submit",
            "Test a webhook",
            "Sends one webhook to a URL at once, checked, signed and limited like a real one, and tells what came of "
            f'it: `{{"type": "{EVENT}", "timestamp": …, "data": {{"workspace": …}}}}`. It is not repeated, not listed, '
            f"and says nothing about an endpoint's health. A 429 while {EACH} others of the workspace are under way, a "
            f"503 while {AT_ONCE} of all are. Hanging up ends it.",
        ),
        "requestBody": {
            "required": True,
            "content": {"application/json": with_examples(ref("WebhookTest"), test=TEST)},
        },
        "responses": {
            "200": answer("What came of it.", ref("WebhookTestResult"), delivered=TESTED, failed=TEST_FAILED),
            **errors(400, 401, 403, 413, 415, 429, 503),
        },
    }
