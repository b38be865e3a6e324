"""What the accept path is measured against: the same JSON, the same pydantic model, a fixed answer, nothing stored.

`python -m bench.bare DESCRIPTOR` serves a listening socket exactly as `broker web` does.
"""

from __future__ import annotations

import socket
import sys

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker import logs
from broker.cli.processes import run
from broker.cli.web import serve
from broker.dialects.ximilar.wire import SubmitBody
from broker.settings import load

ANSWER = b'{"id":"2e9b43f2-61be-4aaa-8a6a-a74fc0f80b57","status":"CREATED"}'


async def submit(request: Request) -> Response:
    """Validate and answer."""
    SubmitBody.model_validate_json(await request.body())
    return Response(ANSWER, 201, media_type="application/json")


if __name__ == "__main__":
    logs.configure("auto", "warning")
    app = Starlette(routes=[Route("/account/v2/request", submit, methods=["POST"])])
    run(serve(app, socket.socket(fileno=int(sys.argv[1])), load().grace_seconds))
