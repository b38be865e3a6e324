"""`/openapi.json`, and the page `/docs` made from it: no script, no inline style, every asset our own."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from broker.api.http import base_url, resource, web_of
from broker.api.reference import Reference, reference

HERE = Path(__file__).parent
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def routes() -> list[BaseRoute]:
    return [
        *resource("/openapi.json", {"GET": openapi}),
        *resource("/docs", {"GET": page}),
        *resource("/", {"GET": front}),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]


async def front(_: Request) -> Response:
    """Where who asks for the service itself is led; relative, as the page's own links are."""
    return RedirectResponse("./docs")


async def openapi(request: Request) -> Response:
    """The document, for tools."""
    return JSONResponse(await _document(request))


async def page(request: Request) -> Response:
    """The document, for people. Raises Invalid for a Host that no example can name."""
    root = "../" if request.url.path.endswith("/") else "./"
    contents = reference(await _document(request), web_of(request).core.registry, base_url(request))
    return HTMLResponse(render(contents, root), headers=HEADERS)


def render(contents: Reference, root: str) -> str:
    """The page as HTML. `root` leads from its address to the service's; relative, whatever proxy stands before."""
    sample = (HERE / "samples" / "verify_webhook.py").read_text()
    return _templates().get_template("docs.html").render(reference=contents, root=root, verify_sample=sample)


async def _document(request: Request) -> dict[str, Any]:
    """Made when somebody first asks for it; on a thread, as others would wait for it meanwhile."""
    document: dict[str, Any] = await asyncio.to_thread(request.app.state.openapi)
    return document


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("broker.api"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
