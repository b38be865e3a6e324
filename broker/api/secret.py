"""`/api/webhook-secret`: what receivers verify a workspace's webhooks with, and its rotation."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.api.auth import caller, workspace_of
from broker.api.http import json_answer, resource, web_of
from broker.api.own_options import RotateOptions, read_options
from broker.api.own_requests import ROOT, own_query
from broker.api.own_wire import WebhookSecrets
from broker.webhooks.keys import SigningSecret
from broker.webhooks.signing import Kind

PATH = f"{ROOT}/webhook-secret"
NOT_KEPT = {"Cache-Control": "no-store"}


def routes() -> list[Route]:
    return resource(PATH, {"GET": show_secrets, "POST": rotate_secret})


async def show_secrets(request: Request) -> Response:
    """The secrets in force, the newest first."""
    token = await caller(request, "admin")
    workspace = workspace_of(token, own_query(request, {"workspace"}).get("workspace"))
    return _answer(workspace, await web_of(request).rotate.secrets(workspace))


async def rotate_secret(request: Request) -> Response:
    """Sign with a new secret; the old ones sign along for a day."""
    token = await caller(request, "admin")
    options = await read_options(request, RotateOptions)
    workspace = workspace_of(token, options.workspace)
    return _answer(workspace, await web_of(request).rotate(workspace, Kind(options.kind)))


def _answer(workspace: str, secrets: Sequence[SigningSecret]) -> Response:
    return json_answer(WebhookSecrets.of(workspace, secrets).model_dump_json().encode(), headers=NOT_KEPT)
