"""What the service offers whatever the dialect, described for OpenAPI: results, health, this description. Pure."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from broker.api.description import Section, answer, parameter
from broker.api.schemas import Schema, model_schemas, ref
from broker.api.ximilar_errors import errors
from handlers.registry import Registry

TAG = "Service"
_READINESS = {
    "200": "They can. `degraded`: without Redis, a little slower; on a full disk, with a 503 for each new request.",
    "503": "Not now.",
}


class Alive(BaseModel):
    """The process lives."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["ok"] = Field(description="Always `ok`.")


class Checks(BaseModel):
    """Each part: `ok`, or why not."""

    model_config = ConfigDict(extra="forbid")

    database: str = Field(description="Where requests are kept.")
    blobs: str = Field(description="Where pictures are kept.")
    disk: str = Field(description="Whether there is room for new requests on the disks of this machine that are used.")
    redis: str = Field(description="What wakes the workers up at once.")


class Readiness(BaseModel):
    """Whether requests can be served now."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["ready", "degraded", "unready"] = Field(description="All parts together.")
    checks: Checks = Field(description="Each part: `ok`, or why not.")


def section(_registry: Registry) -> Section:
    """The document's part that belongs to no dialect; its errors have the shape of the first one."""
    return Section(
        tag=TAG,
        description="Pictures that were made, and what operators and tools ask. No token is needed.",
        paths={
            "/media/{key}": {"get": _media()},
            "/healthz": {"get": _health("healthz", "Is the process alive?", {"200": "It is."}, "Alive")},
            "/readyz": {"get": _health("readyz", "Can requests be served?", _READINESS, "Readiness")},
            "/openapi.json": {"get": _openapi()},
            "/docs": {"get": _docs()},
            "/": {"get": _front()},
        },
        schemas=model_schemas("", (Alive, Readiness), "serialization"),
    )


def _open(operation_id: str, summary: str, responses: Schema) -> Schema:
    return {"tags": [TAG], "operationId": operation_id, "summary": summary, "security": [], "responses": responses}


def _health(operation_id: str, summary: str, answers: dict[str, str], model: str) -> Schema:
    responses = {code: answer(description, ref(model)) for code, description in answers.items()}
    return _open(operation_id, summary, dict(sorted({**responses, **errors()}.items())))


def _media() -> Schema:
    responses = {
        "200": answer("The file, with its own media type.", {}, media_type="*/*"),
        **errors(404, 410, 503),
    }
    return {
        **_open("getMedia", "Fetch a picture from a result", responses),
        "description": "Links in results lead here. A link is signed: take it as it is. It expires with its picture.",
        "parameters": [
            parameter(
                "key",
                {"type": "string"},
                "Which file. May contain slashes.",
                place="path",
                example="out/upscaled.jpg",
                **{"x-multi-segment": True},
            ),
            parameter(
                "expires",
                {"type": "string", "pattern": "^[0-9]+$"},
                "Until when, in seconds since 1970.",
                required=True,
                example="1646487502",
            ),
            parameter(
                "signature", {"type": "string"}, "Proves that the link is from here.", required=True, example="mac"
            ),
        ],
    }


def _openapi() -> Schema:
    responses = {"200": answer("OpenAPI 3.1.", {"type": "object"}), **errors()}
    return _open("getOpenapi", "This description, for tools", responses)


def _front() -> Schema:
    where = {"description": "`./docs`", "schema": {"type": "string"}}
    leads = {"description": "Leads to the description for people.", "headers": {"Location": where}}
    return _open("getFront", "Where the description is", {"307": leads, **errors()})


def _docs() -> Schema:
    responses = {
        "200": answer("HTML.", {"type": "string"}, media_type="text/html"),
        **errors(400),
    }
    return _open("getDocs", "This description, for people", responses)
