"""Ximilar's asynchronous requests, described for OpenAPI: operations, bodies, errors, the webhook. Pure."""

from __future__ import annotations

from broker.accept import KEY_USED
from broker.api.description import Section, answer, parameter, secured, with_examples
from broker.api.http import IDEMPOTENCY_HEADER, MAX_KEY
from broker.api.schemas import Schema, merge, model_schemas, params_name, ref
from broker.api.ximilar import MAX_WAIT, ROOT
from broker.api.ximilar_errors import PREFIX, error_responses, errors
from broker.api.ximilar_examples import ACCEPTED, DETAILS, EVENT, ID, PAGE, REQUESTS
from broker.dialects.ximilar import codec
from broker.dialects.ximilar.wire import (
    MAX_PAGE_SIZE,
    PAGE_SIZE,
    TYPES,
    Accepted,
    Detail,
    Details,
    Event,
    FieldProblems,
    Page,
    StatusAnswer,
    SubmitBody,
)
from handlers.registry import Registry

TAG = "Ximilar: asynchronous requests"
_ONE_WORKSPACE = parameter(
    "workspace",
    {"type": "string", "format": "uuid"},
    "Look in this workspace only; default: in all that the token may use.",
)
_KEY = parameter(
    IDEMPOTENCY_HEADER,
    {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[!-~]*$"},
    "Your own name for this POST, for example a UUID. Send it again with the same key and the same body whenever you "
    "do not know what became of it: for 24 hours you get the first answer again, and no second request is made.",
    place="header",
    example="3f0c4a5e-order-1017",
)
_ID = parameter("id", {"type": "string", "format": "uuid"}, "The request's id.", place="path", example=ID)


def section(registry: Registry) -> Section:
    """The dialect's part of the document."""
    schemas = model_schemas(PREFIX, [SubmitBody], "validation")
    answers = (Accepted, Details, StatusAnswer, Page, Event, Detail, FieldProblems)
    merge(schemas, model_schemas(PREFIX, answers, "serialization"))
    merge(schemas, _requests(registry))
    return Section(
        tag=TAG,
        description="Send up to 10 images at once, get an id back, fetch the results later or have them posted to you. "
        "Clients written for Ximilar's asynchronous requests work unchanged after a change of their base address.",
        paths={
            ROOT: {"post": _submit(registry), "get": _list(registry)},
            ROOT + "/{id}": {"parameters": [_ID], "get": _details()},
            ROOT + "/{id}/status": {"parameters": [_ID], "get": _status()},
        },
        webhooks={"requestDone": {"post": _event()}},
        schemas=schemas,
        responses=error_responses(),
    )


def _submit(registry: Registry) -> Schema:
    return {
        "tags": [TAG],
        "operationId": "submitRequest",
        "summary": "Submit a request",
        "description": "The answer leaves once the request is safely stored. Every image gets its own result: one that "
        "cannot be fetched or read does not spoil the others. Needs the right `submit`.",
        "security": secured("submit"),
        "parameters": [_KEY],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": ref(PREFIX + "Request"),
                    "examples": {
                        name: {"summary": summary, "value": value}
                        for name, (summary, value) in REQUESTS.items()
                        if value["type"] in registry
                    },
                }
            },
        },
        "responses": {
            "201": answer("The request is accepted and stored.", ref(PREFIX + "Accepted"), accepted=ACCEPTED),
            **errors(400, 401, 403, 413, 415, 429, 503),
            "409": answer(
                "The `Idempotency-Key` was used with another body.",
                ref(PREFIX + "Detail"),
                conflict={"detail": KEY_USED},
            ),
        },
    }


def _list(registry: Registry) -> Schema:
    positive = {"type": "integer", "minimum": 1}
    return {
        "tags": [TAG],
        "operationId": "listRequests",
        "summary": "List requests",
        "description": "The requests of one workspace, newest first, in pages. Needs the right `read`.",
        "security": secured("read"),
        "parameters": [
            parameter("page", {**positive, "default": 1}, "Which page. One after the last is a 404."),
            parameter(
                "page_size",
                {**positive, "default": PAGE_SIZE},
                f"Requests on a page, at most {MAX_PAGE_SIZE}; more counts as {MAX_PAGE_SIZE}.",
            ),
            parameter("type", {"type": "string", "enum": sorted({*TYPES, *registry})}, "Only requests of this type."),
            parameter("status", {"type": "string", "enum": list(codec.STATUSES)}, "Only requests in this status."),
            parameter(
                "workspace",
                {"type": "string", "format": "uuid"},
                "Whose requests: a workspace that the token may use; default: its own.",
            ),
        ],
        "responses": {
            "200": answer("A page.", ref(PREFIX + "Page"), page=PAGE),
            **errors(400, 401, 403, 404, 503),
        },
    }


def _details() -> Schema:
    return {
        "tags": [TAG],
        "operationId": "getRequest",
        "summary": "Get a request",
        "description": "What was sent and where it stands; with the results once the status is `DONE`. "
        "Needs the right `read`.",
        "security": secured("read"),
        "parameters": [
            _ONE_WORKSPACE,
            parameter(
                "wait",
                {"type": "number", "minimum": 0, "default": 0},
                "Seconds to hold the answer back until the request is `DONE`, "
                f"at most {MAX_WAIT:.0f}; more counts as {MAX_WAIT:.0f}.",
            ),
        ],
        "responses": {
            "200": answer("The request.", ref(PREFIX + "Details"), done=DETAILS),
            **errors(400, 401, 403, 404, 503),
        },
    }


def _status() -> Schema:
    return {
        "tags": [TAG],
        "operationId": "getRequestStatus",
        "summary": "Get the status of a request",
        "description": "Where it stands and nothing else. Needs the right `read`.",
        "security": secured("read"),
        "parameters": [_ONE_WORKSPACE],
        "responses": {
            "200": answer("The status.", ref(PREFIX + "StatusAnswer"), done={"status": "DONE"}),
            **errors(400, 401, 403, 404, 503),
        },
    }


def _event() -> Schema:
    headers = {
        "webhook-id": (
            {"type": "string"},
            "Names the event: the same in every try, so that you can tell a repetition.",
        ),
        "webhook-timestamp": ({"type": "string", "pattern": "^[0-9]+$"}, "When it was sent, in seconds since 1970."),
        "webhook-signature": ({"type": "string"}, "Signatures `v1,<base64>` or `v1a,<base64>`, with spaces between."),
    }
    return {
        "tags": [TAG],
        "operationId": "requestDone",
        "summary": "A request is done",
        "description": "Posted to the `webhook.endpoint` of a request that is `DONE`, whatever became of its images, "
        "with the headers that you asked for and the signature of Standard Webhooks 1.0. It may come more than once.",
        "security": [],
        "parameters": [
            parameter(name, schema, text, place="header", required=True) for name, (schema, text) in headers.items()
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": with_examples(ref(PREFIX + "Event"), done=EVENT)},
        },
        "responses": {
            "2XX": {"description": "You have it; it is not sent again."},
            "410": {"description": "You do not want it; it is not sent again."},
            "default": {"description": "Sent again later, for about a day. No answer in time counts the same."},
        },
    }


def _requests(registry: Registry) -> dict[str, Schema]:
    """The body of a POST: what all types have in common, and one variant for every endpoint of every type."""
    variants = {
        f"{PREFIX}{params_name(spec.type, endpoint).removesuffix('Params')}Request": _variant(
            spec.type, endpoint, is_default=endpoint == spec.default_endpoint
        )
        for spec in registry.values()
        for endpoint in spec.endpoints
    }
    # What they have in common stands beside them, too, for a reader who wants no variants.
    body = {"allOf": [ref(PREFIX + "SubmitBody")], **({"oneOf": [ref(name) for name in variants]} if variants else {})}
    return {**variants, f"{PREFIX}Request": body}


def _variant(type: str, endpoint: str, *, is_default: bool) -> Schema:
    chosen = {"type": {"const": type}, "endpoint": {"const": endpoint}}
    return {
        "description": f"Type `{type}`, endpoint `{endpoint}`" + (", which is its default." if is_default else "."),
        "allOf": [
            ref(PREFIX + "SubmitBody"),
            ref(params_name(type, endpoint)),
            {"type": "object", "properties": chosen, "required": ["type"] if is_default else ["type", "endpoint"]},
        ],
    }
