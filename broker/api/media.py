"""`/media/…`: outputs behind signed, expiring links. No token is asked for: the signature is the right."""

from __future__ import annotations

import mimetypes
from pathlib import PurePosixPath

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.api.http import resource, web_of
from broker.api.ximilar import error_answer
from broker.errors import BrokerError, Gone, NotFound

ROOT = "/media"
MEDIA_TYPES = {
    ".avif": "image/avif",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}
"""Of pictures; the host's own table, which may lack some of them, has the rest."""


def routes() -> list[Route]:
    return resource(ROOT + "/{key:path}", {"GET": media})


async def media(request: Request) -> Response:
    """The bytes of an output: 404 for a link that is not ours, 410 for one whose time, or whose output, is over."""
    core = web_of(request).core
    key, query = request.path_params["key"].removesuffix("/"), request.query_params
    try:
        core.links.check(key, query.get("expires", ""), query.get("signature", ""))
        body = await _body(request, key)
    except BrokerError as error:
        return error_answer(error)
    media_type = MEDIA_TYPES.get(PurePosixPath(key).suffix.lower()) or mimetypes.guess_type(key)[0]
    headers = {
        "Cache-Control": "private, max-age=3600, immutable",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(body, headers=headers, media_type=media_type or "application/octet-stream")


async def _body(request: Request, key: str) -> bytes:
    try:
        return await web_of(request).core.blobs.get(key)
    except NotFound as error:
        raise Gone("This file has expired.") from error
