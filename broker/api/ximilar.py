"""Ximilar's routes: submit, list, details, status."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial, wraps

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.api.auth import caller, workspace_of, workspaces_seen
from broker.api.http import (
    Endpoint,
    base_url,
    idempotency_key,
    in_thread_if_large,
    json_answer,
    read_json_body,
    resource,
    share_of,
    web_of,
)
from broker.api.parameters import asked_page, choice, known_query, neighbours
from broker.batches import Batch
from broker.dialects.ximilar import codec
from broker.dialects.ximilar.submission import NAME, parse_submission
from broker.dialects.ximilar.wire import MAX_PAGE_SIZE, PAGE_SIZE, TYPES
from broker.errors import BrokerError, Invalid
from broker.store.tallies import BatchFilter
from broker.store.workspaces import Token

ROOT = "/account/v2/request"
MAX_WAIT = 60.0
_FILTERS = frozenset({"page", "page_size", "type", "status", "workspace"})


def routes() -> list[Route]:
    """Every route of the dialect; errors leave in its own shape."""
    return [
        *resource(ROOT, {"POST": _in_shape(submit), "GET": _in_shape(list_requests)}),
        *resource(ROOT + "/{id}", {"GET": _in_shape(details)}),
        *resource(ROOT + "/{id}/status", {"GET": _in_shape(status)}),
    ]


async def submit(request: Request) -> Response:
    """Accept a batch: 201 once it is committed."""
    token = await caller(request, "submit")
    with share_of(request, token.workspaces[0]) as share:
        raw = await read_json_body(request, share)
        batch = await _accept(request, token, raw)
    return json_answer(codec.render_accepted(batch), 201)


async def _accept(request: Request, token: Token, raw: bytes) -> Batch:
    web = web_of(request)
    key = await idempotency_key(request, raw)
    submission = await in_thread_if_large(partial(parse_submission, check_url=web.core.check_url), raw)
    workspace = workspace_of(token, submission.workspace)
    return await web.accept(submission, workspace, base_url(request), key)


async def list_requests(request: Request) -> Response:
    """A page of the workspace's batches, newest first."""
    token = await caller(request, "read")
    query = known_query(request, _FILTERS)
    number, size = asked_page(query, PAGE_SIZE, MAX_PAGE_SIZE)
    type = choice(query, "type", {*TYPES, *web_of(request).core.registry})
    which = BatchFilter(
        workspaces=(workspace_of(token, query.get("workspace")),),
        dialects=(NAME,),
        types=(type,) if type else None,
        statuses=codec.STATUSES[word] if (word := choice(query, "status", codec.STATUSES)) else None,
    )
    count, heads = await web_of(request).query.page(which, number, size)
    following, previous = neighbours(request, number, size, count)
    return json_answer(codec.render_page(codec.Page(count, following, previous, heads)))


async def details(request: Request) -> Response:
    """A batch, with its results when it is DONE; `?wait=20` holds the answer until then, for 20 s at most."""
    web = web_of(request)
    token = await caller(request, "read")
    query = known_query(request, {"workspace", "wait"})
    id, seen = request.path_params["id"], workspaces_seen(token, query.get("workspace"))
    if wait := _seconds(query):
        await web.wait.until_done(id, wait, lambda: web.query.status(id, NAME, seen))
    batch, results = await web.query.details(id, NAME, seen)
    return json_answer(codec.render_details(batch, results))


async def status(request: Request) -> Response:
    """The state of a batch and nothing else."""
    token = await caller(request, "read")
    seen = workspaces_seen(token, known_query(request, {"workspace"}).get("workspace"))
    found = await web_of(request).query.status(request.path_params["id"], NAME, seen)
    return json_answer(codec.render_status(found))


def _in_shape(endpoint: Endpoint) -> Endpoint:
    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except BrokerError as error:
            return error_answer(error)

    return answer


def error_answer(error: BrokerError) -> Response:
    """An error in the dialect's shape."""
    shaped = codec.render_error(error)
    return json_answer(shaped.body, shaped.status_code, shaped.headers)


def _seconds(query: Mapping[str, str]) -> float:
    try:
        seconds = float(query.get("wait", "0"))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise Invalid(fields={"wait": ["A number of seconds is required."]})
    return min(seconds, MAX_WAIT)
