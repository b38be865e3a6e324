"""Our own routes, `/api`: batches of every dialect listed, looked at, cancelled, retried, held back, deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.api.auth import caller, workspace_of, workspaces_seen
from broker.api.http import Endpoint, resource, web_of
from broker.api.own_options import BulkRetryOptions, Options, RetryOptions, read_options
from broker.api.own_requests import ROOT, answer, asked_workspaces, named_workspaces, own_query
from broker.api.own_wire import (
    MAX_PAGE_SIZE,
    PAGE_SIZE,
    Batch,
    BatchPage,
    BatchWithRecords,
    Retried,
    WorkspaceState,
)
from broker.api.parameters import asked_page, choices_of, neighbours
from broker.batches import Outcome, Overview, Status
from broker.bootstrap.web import Web
from broker.dialects.registry import EVENTS
from broker.dialects.ximilar.wire import TYPES
from broker.store.tallies import BatchFilter

_SINGLE = ("page", "page_size")
_LISTS = ("status", "type", "dialect", "outcome", "workspace")

Act = Callable[[Web, str, Sequence[str]], Awaitable[Overview]]
"""(the parts, a batch's id, the workspaces that the caller may see) -> how the batch stands then."""


def routes() -> list[Route]:
    """Every route; what is fixed stands before what takes an id."""
    return [
        *resource(f"{ROOT}/batches", {"GET": list_batches}),
        *resource(f"{ROOT}/batches/retry", {"POST": retry_batches}),
        *resource(f"{ROOT}/batches/{{id}}", {"GET": show_batch, "DELETE": delete_batch}),
        *resource(f"{ROOT}/batches/{{id}}/cancel", {"POST": _acting(lambda web, id, seen: web.cancel(id, seen))}),
        *resource(f"{ROOT}/batches/{{id}}/retry", {"POST": retry_batch}),
        *resource(f"{ROOT}/batches/{{id}}/pause", {"POST": _acting(lambda web, id, seen: web.pause.pause(id, seen))}),
        *resource(f"{ROOT}/batches/{{id}}/resume", {"POST": _acting(lambda web, id, seen: web.pause.resume(id, seen))}),
        *resource(f"{ROOT}/workspace/pause", {"POST": pause_workspace}),
        *resource(f"{ROOT}/workspace/resume", {"POST": resume_workspace}),
    ]


async def list_batches(request: Request) -> Response:
    """A page of batches, newest first; of the token's own workspace unless others are asked for."""
    token = await caller(request, "read")
    web, query = web_of(request), own_query(request, _SINGLE, _LISTS)
    number, size = asked_page(query, PAGE_SIZE, MAX_PAGE_SIZE)
    which = BatchFilter(
        workspaces=asked_workspaces(token, query.getlist("workspace")),
        statuses=choices_of(query, "status", list(Status)),
        types=choices_of(query, "type", {*TYPES, *web.core.registry}),
        dialects=choices_of(query, "dialect", EVENTS),
        outcomes=choices_of(query, "outcome", list(Outcome)),
    )
    count, found = await web.query.overviews(which, number, size)
    following, previous = neighbours(request, number, size, count)
    results = [Batch.of(overview) for overview in found]
    return answer(BatchPage(count=count, next=following, previous=previous, results=results))


async def show_batch(request: Request) -> Response:
    """A batch with those of its records that are finished."""
    token = await caller(request, "read")
    query = web_of(request).query
    overview = await query.overview(request.path_params["id"], named_workspaces(request, token))
    return answer(BatchWithRecords.with_records(overview, await query.finished_records(overview.id)))


async def delete_batch(request: Request) -> Response:
    """Remove a batch that is DONE, with all that belongs to it."""
    token = await caller(request, "admin")
    await web_of(request).delete(request.path_params["id"], named_workspaces(request, token))
    return Response(status_code=204)


async def retry_batch(request: Request) -> Response:
    """Run a DONE batch again."""
    token = await caller(request, "submit")
    options = await read_options(request, RetryOptions)
    seen = workspaces_seen(token, options.workspace)
    return answer(Batch.of(await web_of(request).retry(request.path_params["id"], seen, all_records=options.all)))


async def retry_batches(request: Request) -> Response:
    """Run again what ended in a certain way since a certain time."""
    token = await caller(request, "submit")
    options = await read_options(request, BulkRetryOptions)
    workspace, outcomes = workspace_of(token, options.workspace), [Outcome(word) for word in options.outcome]
    done = await web_of(request).retry.many(workspace, outcomes, options.since, all_records=options.all)
    return answer(Retried.of(done))


async def pause_workspace(request: Request) -> Response:
    """Claim nothing of a workspace from now on; it still accepts."""
    workspace = await _administered(request)
    await web_of(request).pause.pause_workspace(workspace)
    return answer(WorkspaceState.model_validate({"workspace": workspace, "paused": True}))


async def resume_workspace(request: Request) -> Response:
    """Claim what a workspace has queued meanwhile."""
    workspace = await _administered(request)
    await web_of(request).pause.resume_workspace(workspace)
    return answer(WorkspaceState.model_validate({"workspace": workspace, "paused": False}))


def _acting(act: Act) -> Endpoint:
    """A POST that does something to one batch and answers how it stands then."""

    async def act_on_one(request: Request) -> Response:
        token = await caller(request, "submit")
        options = await read_options(request, Options)
        seen = workspaces_seen(token, options.workspace)
        return answer(Batch.of(await act(web_of(request), request.path_params["id"], seen)))

    return act_on_one


async def _administered(request: Request) -> str:
    """The workspace that the caller acts on as a whole."""
    token = await caller(request, "admin")
    return workspace_of(token, (await read_options(request, Options)).workspace)
