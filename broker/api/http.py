"""What every endpoint does with a request: find the parts, read the body, tell the base of links, answer JSON."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from broker.api.intake import SMALL, Intake, Share
from broker.batches import IdempotencyKey
from broker.bootstrap.web import Web
from broker.errors import Invalid, MethodNotAllowed, TooLarge, Unavailable, UnsupportedMediaType

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]

IDEMPOTENCY_HEADER = "Idempotency-Key"
MAX_KEY = 255
ONLY_ONCE = "It may come only once."
_KEY = re.compile(rf"[!-~]{{1,{MAX_KEY}}}")
_ONE_BY_ONE = ThreadPoolExecutor(1, thread_name_prefix="large-body")
_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


def web_of(request: Request) -> Web:
    """The parts of this process."""
    web: Web = request.app.state.web
    return web


def resource(path: str, methods: Mapping[str, Endpoint]) -> list[Route]:
    """One path, with and without a trailing slash, never a redirect; another method is a 405 that names the legal."""
    return [Route(form, _Resource(methods)) for form in dict.fromkeys((path, path.removesuffix("/") + "/"))]


@dataclass(frozen=True, slots=True)
class _Resource:
    """An ASGI application, because Starlette itself would answer a function's methods that it was not told of."""

    methods: Mapping[str, Endpoint]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        endpoint = self.methods.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            raise MethodNotAllowed(request.method, [*self.methods, *(["HEAD"] if "GET" in self.methods else [])])
        try:
            response = await endpoint(request)
        except asyncio.CancelledError as stopped:
            # This is how a process that stops ends what outlasts its grace; uvicorn would answer it with a bare 500.
            raise Unavailable(retry_after=1) from stopped
        await response(scope, receive, send)


def json_answer(body: bytes, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Bytes that are JSON already."""
    return Response(body, status_code, headers, media_type="application/json")


def share_of(request: Request, workspace: str) -> Share:
    """What this request's body may hold of the workspace's room; to be entered for as long as there is a body."""
    intake: Intake = request.app.state.intake
    return intake.share(workspace)


async def read_json_body(request: Request, share: Share) -> bytes:
    """The raw JSON body. Raises UnsupportedMediaType, TooLarge as soon as the limit is passed, likewise Unavailable."""
    _check_encoding(request)
    _check_media_type(request)
    return await read_body(request, web_of(request).core.settings.max_body_bytes, share)


async def read_optional_json_body(request: Request, cap: int) -> bytes:
    """The same of a body that may be missing, and then needs no content type; at most `cap` bytes."""
    _check_encoding(request)
    body = await read_body(request, cap)
    if body:
        _check_media_type(request)
    return body


def _check_encoding(request: Request) -> None:
    """No coding is undone, so that a small body is not a large one."""
    listed = ",".join(request.headers.getlist("content-encoding")).lower().split(",")
    if {coding.strip() for coding in listed} - {"", "identity"}:
        raise UnsupportedMediaType("Unsupported content encoding; send the body uncompressed.")


def _check_media_type(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType()


async def read_body(request: Request, cap: int, share: Share | None = None) -> bytes:
    """The raw body. Raises TooLarge as soon as `cap` bytes are passed, and Invalid when it ends early.

    Of a large one, `share` holds the bytes that it says it has, before they are read, or else those that come.
    """
    declared = request.headers.get("content-length", "")
    length = int(declared) if declared.isascii() and declared.isdigit() else 0
    if length > cap:
        raise TooLarge()
    if share is not None and length > SMALL:
        await _hold(request, share, length, more=True)
    body, size, more = BytesIO(), 0, True
    while more:
        part, more = await _part(request)
        size += len(part)
        if size > cap:
            raise TooLarge()
        if size > SMALL and share is not None:
            await _hold(request, share, size, more=more)
        body.write(part)
    return body.getvalue()


async def _part(request: Request) -> tuple[bytes, bool]:
    """What comes next of a body, and whether more does. Starlette's own stream costs several times as much."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise Invalid("The body ended early.")
    return message.get("body", b""), message.get("more_body", False)


async def _hold(request: Request, share: Share, size: int, *, more: bool) -> None:
    """Raises Unavailable where there is no room, once the rest has been read away unless the client waits for a word.

    What comes when an answer has been given, uvicorn takes as fast as it comes, which holds up all others.
    """
    try:
        share.hold(size)
    except Unavailable:
        if "expect" not in request.headers:
            with suppress(Invalid):
                while more:
                    _, more = await _part(request)
        raise


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` brings; it is cancelled as soon as the client hangs up, whose answer then is Unavailable.

    The body must have been read.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Unavailable("The client has hung up.")
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def in_thread_if_large(work: Callable[[bytes], T], raw: bytes) -> T:
    """What `work` makes of a body; of a large one on a thread, so that the loop goes on.

    One after the other: threads would fight the loop for Python's global lock, and each have its copies in memory.
    """
    if len(raw) <= SMALL:
        return work(raw)
    return await asyncio.get_running_loop().run_in_executor(_ONE_BY_ONE, work, raw)


async def idempotency_key(request: Request, raw: bytes) -> IdempotencyKey | None:
    """The key by which a POST with this body may be repeated, if it came with one. Raises Invalid naming the header."""
    names = request.headers.getlist(IDEMPOTENCY_HEADER)
    if not names:
        return None
    if len(names) > 1:
        raise Invalid(fields={IDEMPOTENCY_HEADER: [ONLY_ONCE]})
    if not _KEY.fullmatch(names[0]):
        raise Invalid(fields={IDEMPOTENCY_HEADER: [f"1 to {MAX_KEY} visible ASCII characters are required."]})
    return IdempotencyKey(names[0], await in_thread_if_large(_sha256, raw))


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


def _sha256(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


def _last(request: Request, header: str) -> str:
    """The entry that our own proxy wrote; what stands before it came from outside."""
    lines = request.headers.getlist(header)
    return lines[-1].rpartition(",")[2].strip() if lines else ""
