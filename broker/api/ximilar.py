"""Ximilar's routes: submit, list, details, status."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from functools import wraps
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.api.auth import Authenticator, workspace_of
from broker.api.http import Endpoint, base_url, client_url, json_answer, read_json_body, resource, web_of
from broker.batches import Submission, is_id
from broker.dialects.ximilar import codec
from broker.dialects.ximilar.submission import NAME, CheckUrl, parse_submission
from broker.dialects.ximilar.wire import MAX_PAGE_SIZE, PAGE_SIZE, TYPES
from broker.errors import BrokerError, Forbidden, Invalid
from broker.store.batches import Filter
from broker.store.workspaces import Token

ROOT = "/account/v2/request"
PARSE_ON_LOOP = 256 * 1024
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
    web = web_of(request)
    token = await _caller(request, "submit")
    raw = await read_json_body(request)
    submission = await _parse(raw, web.core.check_url)
    workspace = workspace_of(token, submission.workspace)
    batch = await web.accept(submission, workspace, base_url(request))
    return json_answer(codec.render_accepted(batch), 201)


async def list_requests(request: Request) -> Response:
    """A page of the workspace's batches, newest first."""
    token = await _caller(request, "read")
    query = _query(request, _FILTERS)
    number, size = _number(query, "page", 1, None), _number(query, "page_size", PAGE_SIZE, MAX_PAGE_SIZE)
    which = Filter(
        workspace=_workspace(token, query),
        dialect=NAME,
        type=_choice(query, "type", {*TYPES, *web_of(request).core.registry}),
        statuses=codec.STATUSES[word] if (word := _choice(query, "status", codec.STATUSES.keys())) else None,
    )
    count, heads = await web_of(request).query.page(which, number, size)
    here = client_url(request) + request.url.path
    page = codec.Page(
        count=count,
        next=_page_url(here, query, number + 1) if number * size < count else None,
        previous=_page_url(here, query, number - 1) if number > 1 else None,
        heads=heads,
    )
    return json_answer(codec.render_page(page))


async def details(request: Request) -> Response:
    """A batch, with its results when it is DONE; `?wait=20` holds the answer until then, for 20 s at most."""
    web = web_of(request)
    token = await _caller(request, "read")
    query = _query(request, frozenset({"workspace", "wait"}))
    id, seen = request.path_params["id"], _seen(token, query)
    if wait := _seconds(query):
        await web.wait.until_done(id, wait, lambda: web.query.status(id, NAME, seen))
    batch, results = await web.query.details(id, NAME, seen)
    return json_answer(codec.render_details(batch, results))


async def status(request: Request) -> Response:
    """The state of a batch and nothing else."""
    token = await _caller(request, "read")
    seen = _seen(token, _query(request, frozenset({"workspace"})))
    found = await web_of(request).query.status(request.path_params["id"], NAME, seen)
    return json_answer(codec.render_status(found))


async def _parse(raw: bytes, check_url: CheckUrl) -> Submission:
    """A large body is read on a thread, so that the loop goes on."""
    if len(raw) > PARSE_ON_LOOP:
        return await asyncio.to_thread(parse_submission, raw, check_url)
    return parse_submission(raw, check_url)


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


async def _caller(request: Request, scope: str) -> Token:
    authenticator: Authenticator = request.app.state.authenticator
    return await authenticator.caller(request, scope)


def _query(request: Request, known: frozenset[str]) -> dict[str, str]:
    """The query, where the last of repeated keys wins, as the vendor's client relies on."""
    query = dict(request.query_params.multi_items())
    if unknown := sorted(set(query) - known):
        raise Invalid(fields={name: ["Unknown query parameter."] for name in unknown})
    return query


def _workspace(token: Token, query: Mapping[str, str]) -> str:
    asked = query.get("workspace")
    if asked is not None and not is_id(asked):
        raise Forbidden("You are not allowed to access this workspace.")
    return workspace_of(token, asked)


def _seen(token: Token, query: Mapping[str, str]) -> tuple[str, ...]:
    """The workspaces in which an id is looked for: the one asked for, or all that the token may use."""
    return (_workspace(token, query),) if "workspace" in query else token.workspaces


def _number(query: Mapping[str, str], name: str, default: int, most: int | None) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < 1:
        raise Invalid(fields={name: ["A positive integer is required."]})
    return min(int(text), most) if most else int(text)


def _seconds(query: Mapping[str, str]) -> float:
    try:
        seconds = float(query.get("wait", "0"))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise Invalid(fields={"wait": ["A number of seconds is required."]})
    return min(seconds, MAX_WAIT)


def _choice(query: Mapping[str, str], name: str, choices: Collection[str]) -> str | None:
    value = query.get(name)
    if value is not None and value not in choices:
        raise Invalid(fields={name: [f'"{value}" is not a valid choice.']})
    return value


def _page_url(here: str, query: Mapping[str, str], number: int) -> str:
    return f"{here}?{urlencode({**query, 'page': number})}"
