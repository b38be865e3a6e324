"""Writing batches, lists, events and errors in Ximilar's format. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from pydantic_core import to_json

from broker.batches import Batch, BatchHead, Record, Result, Status
from broker.errors import (
    BrokerError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    TooManyAtOnce,
    TooManyQueued,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)

_WORDS = {
    Status.CREATED: "CREATED",
    Status.PAUSED: "CREATED",
    Status.PROCESSING: "PROCESSING",
    Status.DONE: "DONE",
}
STATUSES: Mapping[str, tuple[Status, ...]] = {
    word: tuple(status for status in Status if _WORDS[status] == word) for word in _WORDS.values()
}
"""A word of the list's `status` filter -> the states that it stands for."""

_CODES: Mapping[type[BrokerError], int] = {
    Invalid: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    Conflict: 409,
    Gone: 410,
    TooLarge: 413,
    UnsupportedMediaType: 415,
    TooManyQueued: 429,
    TooManyAtOnce: 429,
    Unavailable: 503,
}


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list; `next` and `previous` are absolute URLs."""

    count: int
    next: str | None
    previous: str | None
    heads: Sequence[BatchHead]


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error as it goes out."""

    status_code: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def render_accepted(batch: Batch) -> bytes:
    """The answer to a POST. `request` shows what was sent, so a made `_id` is not in it yet."""
    return b'{"id":"%b","request":%b,"type":%b,"status":"CREATED","created":"%b","workspace":"%b"}' % (
        batch.id.encode(),
        _request(batch, all_ids=False),
        to_json(batch.type),
        utc_time(batch.created).encode(),
        batch.workspace.encode(),
    )


def render_details(batch: Batch, results: Sequence[Result]) -> bytes:
    """The whole batch. `results` count only when it is DONE."""
    response = b',"response":%b' % _response(batch, results) if batch.status is Status.DONE else b""
    return b'{"id":%b,"created":%b,"modified":%b,"request":%b%b,"type":%b,"status":%b,"workspace":%b}' % (
        to_json(batch.id),
        to_json(utc_time(batch.created)),
        to_json(utc_time(batch.modified)),
        _request(batch, all_ids=True),
        response,
        to_json(batch.type),
        to_json(_WORDS[batch.status]),
        to_json(batch.workspace),
    )


def render_status(status: Status) -> bytes:
    return to_json({"status": _WORDS[status]})


def render_page(page: Page) -> bytes:
    """A page of the list."""
    items = [
        {
            "id": head.id,
            "status": _WORDS[head.status],
            "type": head.type,
            "created": utc_time(head.created),
            "workspace": head.workspace,
        }
        for head in page.heads
    ]
    return to_json({"count": page.count, "next": page.next, "previous": page.previous, "results": items})


def render_event(batch: Batch, results: Sequence[Result]) -> bytes:
    """The bytes of the webhook of a batch that is DONE."""
    return b'{"status":"DONE","id":%b,"type":%b,"response":%b}' % (
        to_json(batch.id),
        to_json(batch.type),
        _response(batch, results),
    )


def render_error(error: BrokerError) -> ErrorAnswer:
    """An error in the shape of Django REST framework: fields -> messages, or `detail`."""
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), 500)
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Token"
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    if isinstance(error, Invalid) and error.fields:
        return ErrorAnswer(code, to_json(error.fields), headers)
    return ErrorAnswer(code, to_json({"detail": error.message}), headers)


def _request(batch: Batch, *, all_ids: bool) -> bytes:
    """What was sent, with the records as they were sent; `all_ids` adds the made `_id`s."""
    extra = batch.extra.encode()
    records = to_json([_sent(record, all_ids or record.id_given) for record in batch.records])
    return b'%b%b"records":%b}' % (extra[:-1], b"," if len(extra) > len(b"{}") else b"", records)


def _sent(record: Record, show_id: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"_id": record.id} if show_id else {}
    if record.url is not None:
        shown["_url"] = record.url
    return {**shown, **record.fields}


def _response(batch: Batch, results: Sequence[Result]) -> bytes:
    by_place = {result.index: result for result in results}
    return to_json({"records": [_done(record, by_place[place]) for place, record in enumerate(batch.records)]})


def _done(record: Record, result: Result) -> dict[str, Any]:
    status = {"code": result.code, "text": result.text, "request_id": result.request_id}
    return {**_sent(record, show_id=True), **result.facts, "_status": status}


@lru_cache(maxsize=1024)
def utc_time(milliseconds: int) -> str:
    """UTC with microseconds and Z, as the vendor writes it."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
