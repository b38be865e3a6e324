"""`/api/webhook-test`: send one signed webhook to a URL at once, and tell what came of it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.api.auth import caller, workspace_of
from broker.api.endpoint_wire import WebhookTest, WebhookTestResult
from broker.api.http import resource, web_of, while_connected
from broker.api.own_options import read_options
from broker.api.own_requests import ROOT, answer
from broker.api.parameters import known_query

PATH = f"{ROOT}/webhook-test"


def routes() -> list[Route]:
    return resource(PATH, {"POST": test_webhook})


async def test_webhook(request: Request) -> Response:
    """The options come in the body alone: addresses of requests are written into logs on their way."""
    token = await caller(request, "submit")
    known_query(request, ())
    options = await read_options(request, WebhookTest)
    workspace = workspace_of(token, options.workspace)
    pong = await while_connected(request, web_of(request).ping(workspace, options.url, options.headers or {}))
    return answer(WebhookTestResult.of(pong))
