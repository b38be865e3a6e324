"""The shapes on Ximilar's wire: what is posted, what is answered. Source: the page on asynchronous requests."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, StringConstraints

MAX_RECORDS = 10
PAGE_SIZE = 20
MAX_PAGE_SIZE = 200
TYPES = ("upscaler", "flows", "collectibles-recognition", "card-grader")
StatusWord = Literal["CREATED", "PROCESSING", "DONE"]
Url = Annotated[str, Field(json_schema_extra={"format": "uri"})]


class _Open(BaseModel):
    """Keys that are not named here are the caller's own: kept and shown again."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)


class RecordBody(_Open):
    """One image: exactly one of `_url` and `_base64`."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = Field(
        None, alias="_id", description="Your id of the record; one is made if it is missing."
    )
    url: str | None = Field(None, alias="_url", description="http(s) address of the image.")
    base64: str | None = Field(None, alias="_base64", description="The image itself in base64, bare or as a data: URL.")


class WebhookBody(BaseModel):
    """Where the completed request is announced."""

    model_config = ConfigDict(extra="ignore")

    endpoint: str = Field(description="http(s) address that gets a POST when the request is DONE.")
    headers: dict[str, str] | None = Field(None, description="Headers of your own for that POST.")


class SubmitBody(_Open):
    """A batch of up to 10 records for one service."""

    type: str = Field(description="The service.")
    endpoint: str | None = Field(None, description="The operation of the service; each has a default.")
    records: list[RecordBody] = Field(min_length=1, max_length=MAX_RECORDS)
    webhook: WebhookBody | None = None
    workspace: UUID | None = Field(None, description="A workspace that the token may use; default: its own.")


class RequestEcho(_Open):
    """What was sent: the type, the endpoint, the records and every other key, without webhook and image bytes."""

    type: str
    endpoint: str | None = None
    records: list[dict[str, Any]]


class RecordStatus(BaseModel):
    """How the record went: `code` like an HTTP status, `text` for people."""

    model_config = ConfigDict(extra="forbid")

    code: int
    text: str
    request_id: UUID


class RecordResult(_Open):
    """The record with what was found out about it."""

    id: str = Field(alias="_id")
    status: RecordStatus = Field(alias="_status")
    url: str | None = Field(None, alias="_url")


class Response(BaseModel):
    """Results in the order of the records."""

    model_config = ConfigDict(extra="forbid")

    records: list[RecordResult]


class Accepted(BaseModel):
    """The answer to a submitted request."""

    model_config = ConfigDict(extra="forbid")

    id: UUID
    request: RequestEcho
    type: str
    status: StatusWord
    created: str = Field(description="UTC, e.g. 2022-03-02T13:38:22.784359Z")
    workspace: UUID


class Details(Accepted):
    """A request with everything known about it. `response` is there only when it is DONE."""

    modified: str
    response: Response | None = None


class StatusAnswer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    status: StatusWord


class ListItem(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: UUID
    status: StatusWord
    type: str
    created: str
    workspace: UUID


class Page(BaseModel):
    """A page of requests, newest first."""

    model_config = ConfigDict(extra="forbid")

    count: int
    next: AnyHttpUrl | None
    previous: AnyHttpUrl | None
    results: list[ListItem]


class Event(BaseModel):
    """What is posted to the webhook."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["DONE"]
    id: UUID
    type: str
    response: Response


class Detail(BaseModel):
    """An error about the request as a whole."""

    detail: str


class FieldProblems(BaseModel):
    """An error about fields: the field's name -> messages, nested by record number under `records`."""

    model_config = ConfigDict(extra="allow")
