"""The shapes on Ximilar's wire: what is posted, what is answered. Source: the page on asynchronous requests.

Bodies that are posted are parsed with these models. Answers are written by the codec; their models describe them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, RootModel, StringConstraints, WithJsonSchema

MAX_RECORDS = 10
PAGE_SIZE = 20
MAX_PAGE_SIZE = 200
TYPES = ("upscaler", "flows", "collectibles-recognition", "card-grader")
StatusWord = Literal["CREATED", "PROCESSING", "DONE"]
Time = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$",
        json_schema_extra={"format": "date-time"},
    ),
]
"""UTC with microseconds, e.g. 2022-03-02T13:38:22.784359Z."""

_ONE_SOURCE: dict[str, Any] = {"oneOf": [{"required": ["_url"]}, {"required": ["_base64"]}]}
_NO_BYTES: dict[str, Any] = {"not": {"required": ["_base64"]}}
_NO_WEBHOOK: dict[str, Any] = {"not": {"required": ["webhook"]}}


class _Open(BaseModel):
    """Keys that are not named here are the caller's own: kept and shown again."""

    model_config = ConfigDict(extra="allow")


class _Exact(BaseModel):
    """These keys and no others."""

    model_config = ConfigDict(extra="forbid")


class RecordBody(_Open):
    """One image: exactly one of `_url` and `_base64`. Keys of your own are kept and shown again."""

    model_config = ConfigDict(json_schema_extra=_ONE_SOURCE)

    id: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = Field(
        None, alias="_id", description="Your id of the record; one is made if it is missing."
    )
    url: str | None = Field(None, alias="_url", description="http(s) address of the image.")
    base64: str | None = Field(
        None, alias="_base64", description="The image itself in base64, bare or as a `data:` URL."
    )


class WebhookBody(BaseModel):
    """Where the completed request is announced."""

    model_config = ConfigDict(extra="ignore")

    endpoint: str = Field(description="http(s) address that gets a POST when the request is DONE.")
    headers: dict[str, str] | None = Field(None, description="Headers of your own for that POST.")


class SubmitBody(_Open):
    """A batch of up to 10 records for one service. Keys that no service knows are kept and shown again."""

    type: str = Field(description="The service: one of the installed types.")
    endpoint: str | None = Field(None, description="The operation of the service; each has a default.")
    records: list[RecordBody] = Field(
        min_length=1, max_length=MAX_RECORDS, description="The images, each with its own result."
    )
    webhook: WebhookBody | None = Field(None, description="Where to announce that the request is DONE.")
    workspace: UUID | None = Field(None, description="A workspace that the token may use; default: its own.")


class SentRecord(_Open):
    """A record as it was sent, without image bytes."""

    model_config = ConfigDict(json_schema_extra=_NO_BYTES)

    id: str | None = Field(None, alias="_id", description="The record's id, if you sent one.")
    url: str | None = Field(None, alias="_url", description="The image's address, if you sent one.")


class StoredRecord(SentRecord):
    """A record as it was sent, without image bytes; one that came without an `_id` has got one."""

    id: str = Field(alias="_id", description="The record's id: yours, or the one that was made.")


class _Sent(_Open):
    model_config = ConfigDict(json_schema_extra=_NO_WEBHOOK)

    type: str = Field(description="The service.")
    endpoint: Annotated[str | None, WithJsonSchema({"type": ["string", "null"]})] = Field(
        None, description="The operation, as you sent it."
    )


class SentRequest(_Sent):
    """What was sent: type, endpoint, records and every other key, without webhook and image bytes."""

    records: list[SentRecord] = Field(min_length=1, max_length=MAX_RECORDS, description="The records as you sent them.")


class StoredRequest(_Sent):
    """What was sent, with an `_id` in every record."""

    records: list[StoredRecord] = Field(
        min_length=1, max_length=MAX_RECORDS, description="The records as you sent them."
    )


class RecordStatus(_Exact):
    """How the record went."""

    code: int = Field(ge=200, le=599, description="Like an HTTP status: 200 is good, 4xx and 5xx are not.")
    text: str = Field(description="The same for people.")
    request_id: UUID = Field(description="Names this record's run in the service's logs.")


class RecordResult(_Open):
    """The record as it was sent, with what the service found out about it."""

    model_config = ConfigDict(json_schema_extra=_NO_BYTES)

    id: str = Field(alias="_id", description="The record's id.")
    url: str | None = Field(None, alias="_url", description="The image's address, if you sent one.")
    status: RecordStatus = Field(alias="_status", description="How the record went.")


class Response(_Exact):
    """Results in the order of the records."""

    records: list[RecordResult] = Field(
        min_length=1, max_length=MAX_RECORDS, description="The results in the order of the records."
    )


class Accepted(_Exact):
    """The answer to a submitted request."""

    id: UUID = Field(description="The request's id.")
    request: SentRequest = Field(description="What you sent, without webhook and image bytes.")
    type: str = Field(description="The service.")
    status: Literal["CREATED"] = Field(description="Always `CREATED`.")
    created: Time = Field(description="When it was accepted, in UTC.")
    workspace: UUID = Field(description="The workspace that it belongs to.")


class _Details(_Exact):
    id: UUID = Field(description="The request's id.")
    created: Time = Field(description="When it was accepted, in UTC.")
    modified: Time = Field(description="When its status last changed, in UTC.")
    request: StoredRequest = Field(description="What you sent, without webhook and image bytes.")
    type: str = Field(description="The service.")
    workspace: UUID = Field(description="The workspace that it belongs to.")


class OpenDetails(_Details):
    """A request that is not DONE yet."""

    status: Literal["CREATED", "PROCESSING"] = Field(description="Where the request stands.")


class DoneDetails(_Details):
    """A request that is DONE, with its results."""

    status: Literal["DONE"] = Field(description="Where the request stands.")
    response: Response = Field(description="The results; only when the status is `DONE`.")


class Details(RootModel[Annotated[OpenDetails | DoneDetails, Field(discriminator="status")]]):
    """A request with everything known about it."""


class StatusAnswer(_Exact):
    """Where a request stands."""

    status: StatusWord = Field(description="Where the request stands.")


class ListItem(_Exact):
    """A request in a list."""

    id: UUID = Field(description="The request's id.")
    status: StatusWord = Field(description="Where the request stands.")
    type: str = Field(description="The service.")
    created: Time = Field(description="When it was accepted, in UTC.")
    workspace: UUID = Field(description="The workspace that it belongs to.")


class Page(_Exact):
    """A page of requests, newest first."""

    count: int = Field(ge=0, description="How many requests there are on all pages.")
    next: AnyHttpUrl | None = Field(description="Address of the next page; null on the last one.")
    previous: AnyHttpUrl | None = Field(description="Address of the page before; null on the first one.")
    results: list[ListItem] = Field(max_length=MAX_PAGE_SIZE, description="The requests of this page.")


class Event(_Exact):
    """What is posted to the webhook."""

    status: Literal["DONE"] = Field(description="Always `DONE`.")
    id: UUID = Field(description="The request's id.")
    type: str = Field(description="The service.")
    response: Response = Field(description="The results.")


class Detail(_Exact):
    """An error about the request as a whole."""

    detail: str = Field(description="What is wrong, for people.")


class FieldProblems(RootModel[dict[str, "list[str] | FieldProblems"]]):
    """An error about fields: the field's name -> messages; under `records`, nested by the record's number."""
