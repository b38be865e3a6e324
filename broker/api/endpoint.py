"""`/api/endpoints`: where a workspace's webhooks go, how healthy that is, and enabling it again."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.api.auth import caller, workspaces_seen
from broker.api.endpoint_wire import WebhookEndpoint, WebhookEndpointPage
from broker.api.http import resource, web_of
from broker.api.own_options import Options, read_options
from broker.api.own_requests import ROOT, answer, asked_workspaces, named_workspaces, own_query
from broker.api.own_wire import MAX_PAGE_SIZE, PAGE_SIZE
from broker.api.parameters import asked_page, choices_of, neighbours
from broker.endpoints import Health
from broker.store.endpoint_lists import EndpointFilter

PATH = f"{ROOT}/endpoints"
_SINGLE = ("page", "page_size")
_LISTS = ("state", "workspace")


def routes() -> list[Route]:
    return [
        *resource(PATH, {"GET": list_endpoints}),
        *resource(f"{PATH}/{{id}}", {"GET": show_endpoint}),
        *resource(f"{PATH}/{{id}}/enable", {"POST": enable_endpoint}),
    ]


async def list_endpoints(request: Request) -> Response:
    """A page of endpoints, newest first; of the token's own workspace unless others are asked for."""
    token = await caller(request, "read")
    query = own_query(request, _SINGLE, _LISTS)
    number, size = asked_page(query, PAGE_SIZE, MAX_PAGE_SIZE)
    which = EndpointFilter(
        workspaces=asked_workspaces(token, query.getlist("workspace")),
        states=choices_of(query, "state", list(Health)),
    )
    count, found = await web_of(request).endpoints.page(which, number, size)
    following, previous = neighbours(request, number, size, count)
    results = [WebhookEndpoint.of(standing) for standing in found]
    return answer(WebhookEndpointPage(count=count, next=following, previous=previous, results=results))


async def show_endpoint(request: Request) -> Response:
    """One endpoint."""
    token = await caller(request, "read")
    return answer(
        WebhookEndpoint.of(
            await web_of(request).endpoints.one(request.path_params["id"], named_workspaces(request, token))
        )
    )


async def enable_endpoint(request: Request) -> Response:
    """Forget an endpoint's failures, so that it is sent webhooks again."""
    token = await caller(request, "admin")
    options = await read_options(request, Options)
    seen = workspaces_seen(token, options.workspace)
    return answer(WebhookEndpoint.of(await web_of(request).enable(request.path_params["id"], seen)))
