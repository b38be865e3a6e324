"""What every endpoint does with a request: find the parts, read the body, tell the base of links, answer JSON."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from broker.bootstrap import Web
from broker.errors import Invalid, MethodNotAllowed, TooLarge, UnsupportedMediaType

Endpoint = Callable[[Request], Awaitable[Response]]
_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


def web_of(request: Request) -> Web:
    """The parts of this process."""
    web: Web = request.app.state.web
    return web


def resource(path: str, methods: Mapping[str, Endpoint]) -> list[Route]:
    """One path, with and without a trailing slash, never a redirect; another method is a 405 that names the legal."""
    return [Route(form, _Resource(methods)) for form in (path, path + "/")]


@dataclass(frozen=True, slots=True)
class _Resource:
    """An ASGI application, because Starlette itself would answer a function's methods that it was not told of."""

    methods: Mapping[str, Endpoint]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        endpoint = self.methods.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            raise MethodNotAllowed(request.method, [*self.methods, *(["HEAD"] if "GET" in self.methods else [])])
        response = await endpoint(request)
        await response(scope, receive, send)


def json_answer(body: bytes, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Bytes that are JSON already."""
    return Response(body, status_code, headers, media_type="application/json")


async def read_json_body(request: Request) -> bytes:
    """The raw JSON body. Raises UnsupportedMediaType, and TooLarge as soon as the limit is passed."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType()
    cap = web_of(request).core.settings.max_body_bytes
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > cap:
        raise TooLarge()
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > cap:
                raise TooLarge()
            parts.append(part)
    except ClientDisconnect as error:
        raise Invalid("The body ended early.") from error
    return b"".join(parts)


def base_url(request: Request) -> str:
    """What links to outputs start with: PUBLIC_URL, or what the client used."""
    return web_of(request).core.settings.public_url or client_url(request)


def client_url(request: Request) -> str:
    """The scheme and Host that the client used. Raises Invalid for a Host that is none."""
    scheme, host = request.scope["scheme"], request.headers.get("host", "")
    if _is_proxy(request):
        scheme = _last(request, "x-forwarded-proto") or scheme
        host = _last(request, "x-forwarded-host") or host
    if scheme not in ("http", "https") or not _HOST.fullmatch(host):
        raise Invalid("The Host header is not valid.")
    return f"{scheme}://{host}"


def _is_proxy(request: Request) -> bool:
    """Whether the peer is one of TRUSTED_PROXIES, whose X-Forwarded-* headers count."""
    networks = web_of(request).core.settings.proxies
    if not networks or request.client is None:
        return False
    try:
        peer = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    return any(peer in network for network in networks)


def _last(request: Request, header: str) -> str:
    """The entry that our own proxy wrote; what stands before it came from outside."""
    lines = request.headers.getlist(header)
    return lines[-1].rpartition(",")[2].strip() if lines else ""
