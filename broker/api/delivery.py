"""`/api/deliveries`: the webhooks that are owed and those that were, looked at and sent again."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from broker.api.auth import caller, workspace_of, workspaces_seen
from broker.api.delivery_options import BulkReplayOptions
from broker.api.delivery_wire import Delivery, DeliveryPage, DeliveryWithTries, Replayed
from broker.api.http import resource, web_of
from broker.api.moments import asked_moment, check_order
from broker.api.own_options import Options, read_options
from broker.api.own_requests import ROOT, answer, asked_workspaces, named_workspaces, own_query
from broker.api.own_wire import MAX_PAGE_SIZE, PAGE_SIZE
from broker.api.parameters import asked_page, choices_of, neighbours
from broker.deliveries import EVENTS, State
from broker.store.delivery_lists import DeliveryFilter
from broker.store.replays import Lost

PATH = f"{ROOT}/deliveries"
_SINGLE = ("page", "page_size", "batch", "endpoint", "since", "until")
_LISTS = ("state", "event", "workspace")


def routes() -> list[Route]:
    """Every route; what is fixed stands before what takes an id."""
    return [
        *resource(PATH, {"GET": list_deliveries}),
        *resource(f"{PATH}/replay", {"POST": replay_deliveries}),
        *resource(f"{PATH}/{{id}}", {"GET": show_delivery}),
        *resource(f"{PATH}/{{id}}/replay", {"POST": replay_delivery}),
    ]


async def list_deliveries(request: Request) -> Response:
    """A page of deliveries, newest first; of the token's own workspace unless others are asked for."""
    token = await caller(request, "read")
    query = own_query(request, _SINGLE, _LISTS)
    number, size = asked_page(query, PAGE_SIZE, MAX_PAGE_SIZE)
    which = DeliveryFilter(
        workspaces=asked_workspaces(token, query.getlist("workspace")),
        states=choices_of(query, "state", list(State)),
        events=choices_of(query, "event", EVENTS),
        batch=query.get("batch"),
        endpoint=query.get("endpoint"),
        since=asked_moment(query, "since"),
        until=asked_moment(query, "until"),
    )
    check_order(which.since, which.until)
    count, found = await web_of(request).deliveries.page(which, number, size)
    following, previous = neighbours(request, number, size, count)
    results = [Delivery.of(shown) for shown in found]
    return answer(DeliveryPage(count=count, next=following, previous=previous, results=results))


async def show_delivery(request: Request) -> Response:
    """A delivery with what it sends and its tries."""
    token = await caller(request, "read")
    seen = named_workspaces(request, token)
    return answer(DeliveryWithTries.with_tries(await web_of(request).deliveries.details(_id(request), seen)))


async def replay_delivery(request: Request) -> Response:
    """Send it once more, now."""
    token = await caller(request, "submit")
    options = await read_options(request, Options)
    seen = workspaces_seen(token, options.workspace)
    return answer(Delivery.of(await web_of(request).replay(_id(request), seen)))


async def replay_deliveries(request: Request) -> Response:
    """Send once more what did not arrive in a certain time."""
    token = await caller(request, "submit")
    options = await read_options(request, BulkReplayOptions)
    check_order(options.since, options.until)
    workspace, what = workspace_of(token, options.workspace), Lost(options.what)
    replay = web_of(request).replay
    return answer(Replayed.of(await replay.many(workspace, what, options.since, options.until, options.endpoint)))


def _id(request: Request) -> str:
    id: str = request.path_params["id"]
    return id
