"""`/openapi.json` and the readable page `/docs` made from it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker.api.http import resource
from handlers.registry import Registry


def document(registry: Registry) -> dict[str, Any]:
    return {"openapi": "3.1.0"}


def routes() -> list[Route]:
    return resource("/openapi.json", {"GET": openapi})


async def openapi(request: Request) -> Response:
    return JSONResponse(request.app.state.openapi)
