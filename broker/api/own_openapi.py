"""Our own routes, described for OpenAPI: operations, options, answers. Pure."""

from __future__ import annotations

from functools import partial
from typing import get_args

from broker.api.description import Section, answer, parameter
from broker.api.own_examples import (
    CANCELLED,
    JSON,
    PAGE,
    PAUSED,
    RETRIED,
    RETRIED_MANY,
    WAITING,
    WITH_RECORDS,
    WORKSPACE,
)
from broker.api.own_operations import LOOKED_IN, filter_by, operation, options, page_parameters
from broker.api.own_options import BulkRetryOptions, Options, RetryOptions
from broker.api.own_requests import ROOT
from broker.api.own_wire import (
    BatchPage,
    BatchWithRecords,
    OutcomeWord,
    Retried,
    StatusWord,
    WorkspaceState,
)
from broker.api.schemas import Schema, model_schemas, ref
from broker.api.ximilar_errors import errors
from broker.api.ximilar_examples import ID
from broker.dialects.registry import EVENTS
from broker.dialects.ximilar.wire import TYPES
from handlers.registry import Registry

TAG = "Batches"
_operation = partial(operation, TAG)
_ID = parameter("id", {"type": "string"}, "The batch's id, or its dialect's own id of it.", place="path", example=ID)


def section(registry: Registry) -> Section:
    """The document's part about batches of every dialect; its errors have the shape of the first one."""
    one = f"{ROOT}/batches/{{id}}"
    return Section(
        tag=TAG,
        description="Whatever dialect a batch came in: see how it stands, cancel it, run it again, hold it back. "
        "The options of a POST are keys of a JSON body, or query parameters; where none is required, the body may be "
        "missing.",
        paths={
            f"{ROOT}/batches": {"get": _list(registry)},
            one: {"parameters": [_ID], "get": _show(), "delete": _delete()},
            f"{one}/cancel": {"parameters": [_ID], "post": _cancel()},
            f"{one}/retry": {"parameters": [_ID], "post": _retry()},
            f"{one}/pause": {"parameters": [_ID], "post": _pause()},
            f"{one}/resume": {"parameters": [_ID], "post": _resume()},
            f"{ROOT}/batches/retry": {"post": _retry_many()},
            f"{ROOT}/workspace/pause": {"post": _workspace("pause", "Its batches wait.", paused=True)},
            f"{ROOT}/workspace/resume": {"post": _workspace("resume", "They are worked on again.", paused=False)},
        },
        schemas={
            **model_schemas("", (Options, RetryOptions, BulkRetryOptions), "validation"),
            **model_schemas("", (BatchPage, BatchWithRecords, Retried, WorkspaceState), "serialization"),
        },
    )


def _list(registry: Registry) -> Schema:
    return {
        **_operation("listBatches", "read", "List batches", "Batches of every dialect, newest first, in pages."),
        "parameters": [
            *page_parameters("Batches"),
            filter_by("status", {"enum": list(get_args(StatusWord))}, "Only batches in these states."),
            filter_by("type", {"enum": sorted({*TYPES, *registry})}, "Only batches of these types."),
            filter_by("dialect", {"enum": sorted(EVENTS)}, "Only batches that came in these wire formats."),
            filter_by("outcome", {"enum": list(get_args(OutcomeWord))}, "Only batches that ended in these ways."),
            filter_by("workspace", {"format": "uuid"}, "Whose batches; default: the token's own workspace."),
        ],
        "responses": {"200": answer("A page.", ref("BatchPage"), page=PAGE), **errors(400, 401, 403, 404, 503)},
    }


def _show() -> Schema:
    return {
        **_operation("getBatch", "read", "Get a batch", "How it stands, with those of its records that are finished."),
        "parameters": [LOOKED_IN],
        "responses": {
            "200": answer("The batch.", ref("BatchWithRecords"), done=WITH_RECORDS),
            **errors(400, 401, 403, 404, 503),
        },
    }


def _delete() -> Schema:
    return {
        **_operation(
            "deleteBatch",
            "admin",
            "Delete a batch",
            "Removes a batch that is `DONE` with its results, its pictures and what is left of its webhook. Its "
            "`Idempotency-Key` is forgotten with it. "
            "A 409 before it is `DONE`.",
        ),
        "parameters": [LOOKED_IN],
        "responses": {"204": {"description": "It is gone."}, **errors(400, 401, 403, 404, 409, 503)},
    }


def _cancel() -> Schema:
    return _acting(
        "cancelBatch",
        "Cancel a batch",
        "Makes it `DONE` with the outcome `cancelled`, and sends its webhook. Finished records keep their results, "
        "the others get the code 499. A 409 when it ended otherwise.",
        CANCELLED,
    )


def _retry() -> Schema:
    acting = _acting(
        "retryBatch",
        "Retry a batch",
        "Runs a batch that is `DONE` again: the records that failed, or all. The new run has a webhook of its own. "
        "A 409 when it is not `DONE` or has nothing to run, a 410 when a picture that was sent along, or one that a "
        "good record made, is no longer kept; for the latter, ask for all.",
        RETRIED,
        RetryOptions,
    )
    return {**acting, "responses": dict(sorted({**acting["responses"], **errors(410)}.items()))}


def _pause() -> Schema:
    return _acting(
        "pauseBatch",
        "Pause a batch",
        "Keeps a batch that waits from being begun. A 409 when it is worked on or `DONE`.",
        PAUSED,
    )


def _resume() -> Schema:
    return _acting(
        "resumeBatch",
        "Resume a batch",
        "Puts a paused batch back in its place of the queue. A 409 when it is not paused.",
        WAITING,
    )


def _acting(operation_id: str, summary: str, description: str, example: JSON, taken: type[Options] = Options) -> Schema:
    return {
        **_operation(operation_id, "submit", summary, description),
        **options(taken),
        "responses": {
            "200": answer("How the batch stands then.", ref("Batch"), batch=example),
            **errors(400, 401, 403, 404, 409, 413, 415, 503),
        },
    }


def _retry_many() -> Schema:
    return {
        **_operation(
            "retryBatches",
            "submit",
            "Retry many batches",
            "Runs again all of a workspace that ended in one of the named ways, since a certain time or ever.",
        ),
        **options(BulkRetryOptions),
        "responses": {
            "200": answer("How many.", ref("Retried"), retried=RETRIED_MANY),
            **errors(400, 401, 403, 413, 415, 503),
        },
    }


def _workspace(verb: str, effect: str, *, paused: bool) -> Schema:
    return {
        **_operation(
            f"{verb}Workspace",
            "admin",
            f"{verb.capitalize()} a workspace",
            f"{effect} Batches are accepted all the time.",
        ),
        **options(Options),
        "responses": {
            "200": answer("The workspace.", ref("WorkspaceState"), state={**WORKSPACE, "paused": paused}),
            **errors(400, 401, 403, 413, 415, 503),
        },
    }
