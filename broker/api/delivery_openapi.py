"""Deliveries, described for OpenAPI: operations, options, answers. Pure."""

from __future__ import annotations

from functools import partial
from typing import get_args

from broker.api.delivery import PATH
from broker.api.delivery_examples import DELIVERED, DELIVERY_PAGE, REPLAYED, REPLAYED_MANY
from broker.api.delivery_options import BulkReplayOptions
from broker.api.delivery_wire import Delivery, DeliveryPage, DeliveryWithTries, Replayed, StateWord
from broker.api.description import Section, answer, parameter
from broker.api.moments import MOMENT
from broker.api.own_operations import LOOKED_IN, filter_by, operation, options, page_parameters
from broker.api.own_options import Options
from broker.api.schemas import Schema, model_schemas, ref
from broker.api.ximilar_errors import errors
from broker.api.ximilar_examples import ID
from broker.deliveries import EVENTS
from handlers.registry import Registry

TAG = "Deliveries"
_operation = partial(operation, TAG)
_ID = parameter("id", {"type": "string"}, "The delivery's id.", place="path", example=ID)


def section(_registry: Registry) -> Section:
    """The document's part about webhooks that are owed; its errors have the shape of the first dialect."""
    one = f"{PATH}/{{id}}"
    return Section(
        tag=TAG,
        description="A delivery is a webhook that is owed from the moment its batch is `DONE`. It is tried by a "
        "schedule, always with the same id and the same bytes, until the receiver has answered with 2xx.",
        paths={
            PATH: {"get": _list()},
            one: {"parameters": [_ID], "get": _show()},
            f"{one}/replay": {"parameters": [_ID], "post": _replay()},
            f"{PATH}/replay": {"post": _replay_many()},
        },
        schemas={
            **model_schemas("", (Options, BulkReplayOptions), "validation"),
            **model_schemas("", (Delivery, DeliveryPage, DeliveryWithTries, Replayed), "serialization"),
        },
    )


def _list() -> Schema:
    return {
        **_operation("listDeliveries", "read", "List deliveries", "Those of all batches, newest first, in pages."),
        "parameters": [
            *page_parameters("Deliveries"),
            filter_by("state", {"enum": list(get_args(StateWord))}, "Only deliveries in these states."),
            filter_by("event", {"enum": list(EVENTS)}, "Only those that tell of this."),
            parameter("batch", {"type": "string"}, "Only those of this batch: its id, or its dialect's own id of it."),
            parameter("endpoint", {"type": "string"}, "Only those that go to this endpoint, by its id."),
            parameter("since", MOMENT, "Only those owed since then or later."),
            parameter("until", MOMENT, "Only those owed since then or earlier."),
            filter_by("workspace", {"format": "uuid"}, "Whose deliveries; default: the token's own workspace."),
        ],
        "responses": {
            "200": answer("A page.", ref("DeliveryPage"), page=DELIVERY_PAGE),
            **errors(400, 401, 403, 404, 503),
        },
    }


def _show() -> Schema:
    return {
        **_operation(
            "getDelivery",
            "read",
            "Get a delivery",
            "How it stands, what is sent, and all tries. Of the headers that you had sent along, only the names.",
        ),
        "parameters": [LOOKED_IN],
        "responses": {
            "200": answer("The delivery.", ref("DeliveryWithTries"), delivered=DELIVERED),
            **errors(400, 401, 403, 404, 503),
        },
    }


def _replay() -> Schema:
    return {
        **_operation(
            "replayDelivery",
            "submit",
            "Replay a delivery",
            "Sends it once more within a second or so, whatever its state, with the same `webhook-id` and the same "
            "bytes. No further tries follow from it: one that had come to its end keeps its state unless it arrives "
            "now, a pending one keeps the rest of its schedule. Asked again before the try has begun, it is still one "
            "try. A 409 when its endpoint is disabled or it is being sent right now.",
        ),
        **options(Options),
        "responses": {
            "200": answer("How the delivery stands then.", ref("Delivery"), replayed=REPLAYED),
            **errors(400, 401, 403, 404, 409, 413, 415, 503),
        },
    }


def _replay_many() -> Schema:
    return {
        **_operation(
            "replayDeliveries",
            "submit",
            "Replay many deliveries",
            "Sends once more all of a workspace that did not arrive, of those first owed in a certain time. Each as if "
            "it were replayed alone.",
        ),
        **options(BulkReplayOptions),
        "responses": {
            "200": answer("How many.", ref("Replayed"), replayed=REPLAYED_MANY),
            **errors(400, 401, 403, 413, 415, 503),
        },
    }
