"""Reading a POST in Ximilar's format. Pure; errors are named as Django REST framework names them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, to_json

from broker.batches import Draft, Submission, Webhook
from broker.deliveries import require_headers
from broker.dialects.parsing import parse_json
from broker.dialects.ximilar.wire import MAX_RECORDS, RecordBody, SubmitBody, WebhookBody
from broker.errors import Invalid

NAME = "ximilar"
PIECE = 64 * 1024
"""Characters of base64 that are decoded at once; a multiple of four."""

CheckUrl = Callable[[str], None]
"""Raises Invalid, with a text for the customer, for a URL that the broker would never fetch or post to."""

_OWN_KEYS = frozenset({"type", "endpoint", "records", "webhook", "workspace"})
_RECORD_KEYS = frozenset({"_id", "_url", "_base64"})
_MESSAGES = {
    "missing": "This field is required.",
    "string_type": "Not a valid string.",
    "list_type": "Expected a list of items.",
    "dict_type": "Expected an object.",
    "model_type": "Expected an object.",
    "model_attributes_type": "Expected an object.",
    "string_too_short": "This field may not be blank.",
    "uuid_parsing": "Must be a valid UUID.",
    "uuid_type": "Must be a valid UUID.",
}


def parse_submission(raw: bytes, check_url: CheckUrl) -> Submission:
    """The submission in a POST's body. Raises Invalid, whose fields name what is wrong."""
    sent = parse_json(raw)
    if not isinstance(sent, dict):
        raise Invalid(fields={"non_field_errors": ["Invalid data. Expected an object."]})
    try:
        body = SubmitBody.model_validate(sent)
    except ValidationError as error:
        raise Invalid(fields=_problems(error.errors())) from error
    return Submission(
        dialect=NAME,
        type=body.type,
        endpoint=body.endpoint,
        params={name: value for name, value in sent.items() if name not in _OWN_KEYS},
        records=_drafts(body.records, sent["records"], check_url),
        extra=_extra(sent),
        webhook=_webhook(body.webhook, check_url),
        workspace=str(body.workspace) if body.workspace else None,
    )


def _extra(sent: Mapping[str, Any]) -> str:
    """What the caller sent besides records and webhook, as JSON."""
    return to_json({name: value for name, value in sent.items() if name not in ("records", "webhook")}).decode()


def _drafts(records: Sequence[RecordBody], sent: Sequence[dict[str, Any]], check_url: CheckUrl) -> tuple[Draft, ...]:
    drafts: list[Draft] = []
    problems: dict[str, Any] = {}
    for place, (record, raw) in enumerate(zip(records, sent, strict=True)):
        try:
            drafts.append(_draft(record, raw, check_url))
        except Invalid as error:
            problems[str(place)] = error.fields or [error.message]
    if problems:
        raise Invalid(fields={"records": problems})
    return tuple(drafts)


def _draft(record: RecordBody, raw: dict[str, Any], check_url: CheckUrl) -> Draft:
    """Takes the base64 out of both: a picture's text goes as soon as its bytes are there."""
    if (record.url is None) == (record.base64 is None):
        raise Invalid("Exactly one of _url and _base64 is required.")
    if record.url is not None:
        _check(record.url, "_url", check_url)
    text = raw.pop("_base64", None)
    record.base64 = None
    return Draft(
        url=record.url,
        data=None if text is None else _decode(text),
        id=record.id,
        fields={name: value for name, value in raw.items() if name not in _RECORD_KEYS},
    )


def _decode(text: str) -> bytes:
    """The bytes in base64 text, bare or as a data: URL (RFC 2397); line breaks are tolerated."""
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise Invalid(fields={"_base64": ["A data: URL must be data:<type>;base64,<data>."]})
    try:
        data = _bytes("".join(text.split()))
    except (binascii.Error, ValueError) as error:
        raise Invalid(fields={"_base64": ["Not valid base64."]}) from error
    if not data:
        raise Invalid(fields={"_base64": ["This field may not be blank."]})
    return data


def _bytes(text: str) -> bytes:
    """Piece by piece, as nothing else of the process runs while Python decodes one. Raises ValueError."""
    if "=" in text[:-2]:
        raise ValueError("padding amid the text")
    pieces = (text[at : at + PIECE] for at in range(0, len(text), PIECE))
    return b"".join([base64.b64decode(piece, validate=True) for piece in pieces])


def _webhook(body: WebhookBody | None, check_url: CheckUrl) -> Webhook | None:
    if body is None:
        return None
    headers = body.headers or {}
    try:
        _check(body.endpoint, "endpoint", check_url)
        require_headers(headers)
    except Invalid as error:
        raise Invalid(fields={"webhook": error.fields}) from error
    return Webhook(body.endpoint, headers)


def _check(url: str, field: str, check_url: CheckUrl) -> None:
    try:
        check_url(url)
    except Invalid as error:
        raise Invalid(fields={field: [error.message]}) from error


def _problems(errors: Sequence[ErrorDetails]) -> dict[str, Any]:
    """pydantic's errors as nested field -> [message]."""
    problems: dict[str, Any] = {}
    for error in errors:
        *parents, field = [str(part) for part in error["loc"]]
        place = problems
        for parent in parents:
            place = place.setdefault(parent, {})
        place.setdefault(field, []).append(_message(error))
    return problems


def _message(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "too_short":
        return "This list may not be empty."
    if kind == "too_long":
        return f"Ensure this field has no more than {MAX_RECORDS} elements."
    if kind == "string_too_long":
        return f"Ensure this field has no more than {context['max_length']} characters."
    return _MESSAGES.get(kind, error["msg"])
