"""The options of our own POSTs: keys of a JSON body, or query parameters. Strictly read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails
from starlette.datastructures import QueryParams
from starlette.requests import Request

from broker.api.http import read_optional_json_body
from broker.api.moments import Moment, number_or_text
from broker.api.own_wire import OutcomeWord, SecretKindWord
from broker.api.parameters import check_single, comma_separated
from broker.dialects.parsing import parse_json
from broker.errors import Invalid

MAX_BYTES = 64 * 1024
_MESSAGES = {
    "extra_forbidden": "Unknown option.",
    "missing": "This field is required.",
    "bool_type": "Must be true or false.",
    "string_type": "Not a valid string.",
    "list_type": "Expected a list of items.",
    "too_short": "This list may not be empty.",
    "dict_type": "Expected an object.",
}


def _alone(value: object) -> object:
    """One word stands for a list of it."""
    return [value] if isinstance(value, str) else value


_WORD = {"type": "string", "enum": list(get_args(OutcomeWord))}
Outcomes = Annotated[
    list[OutcomeWord],
    Field(min_length=1),
    BeforeValidator(_alone),
    WithJsonSchema({"anyOf": [_WORD, {"type": "array", "items": _WORD, "minItems": 1}]}),
]


class Options(BaseModel):
    """What every POST takes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    workspace: str | None = Field(
        None,
        description="A workspace that the token may use; default: its own, and for an id all that it may use.",
        json_schema_extra={"format": "uuid"},
    )


class RetryOptions(Options):
    """How a batch is retried."""

    all: bool = Field(False, description="Also the records that succeeded; else only the others.")


class BulkRetryOptions(RetryOptions):
    """Which batches are retried, and how."""

    outcome: Outcomes = Field(description="Batches that ended in one of these ways. Required, here or in the query.")
    since: Moment = Field(
        default=0, description="Batches that were done then or later: ISO 8601 with a zone, or ms since 1970."
    )


class RotateOptions(Options):
    """What the next signing secret is."""

    kind: SecretKindWord = Field("v1", description="`v1`: a shared secret; `v1a`: an ed25519 key pair.")


T = TypeVar("T", bound=Options)


async def read_options(request: Request, model: type[T], cap: int = MAX_BYTES) -> T:
    """The options of a POST of at most `cap` bytes.

    Raises Invalid that names each unknown or wrong one, UnsupportedMediaType, TooLarge.
    """
    sent = _object(await read_optional_json_body(request, cap))
    check_single(request.query_params, model.model_fields.keys() - _LISTS)  # an unknown one is refused as such
    asked = _of_query(request.query_params)
    if twice := sorted(sent.keys() & asked.keys()):
        raise Invalid(fields={name: ["Given both in the body and in the query."] for name in twice})
    try:
        return model.model_validate({**sent, **asked})
    except ValidationError as error:
        raise Invalid(fields=_problems(error.errors())) from error


def _object(raw: bytes) -> dict[str, Any]:
    sent = parse_json(raw) if raw else {}
    if not isinstance(sent, dict):
        raise Invalid(fields={"non_field_errors": ["Invalid data. Expected an object."]})
    return sent


def _of_query(query: QueryParams) -> dict[str, Any]:
    """The values that texts stand for; a text that stands for none stays and is refused by its type."""
    return {
        name: comma_separated(query.getlist(name)) if name in _LISTS else _READERS.get(name, str)(query[name])
        for name in query
    }


def _truth(text: str) -> bool | str:
    return {"true": True, "false": False}.get(text, text)


_LISTS = frozenset({"outcome"})
_READERS: Mapping[str, Callable[[str], Any]] = {"all": _truth, "since": number_or_text, "until": number_or_text}


def _problems(errors: Sequence[ErrorDetails]) -> dict[str, Any]:
    """Option -> its messages, or those of the names inside it; an item of a list counts as the list."""
    problems: dict[str, Any] = {}
    for error in errors:
        *outer, name = [step for step in error["loc"] if isinstance(step, str)]
        place = problems
        for step in outer:
            place = place.setdefault(step, {})
        place.setdefault(name, []).append(_message(error))
    return problems


def _message(error: ErrorDetails) -> str:
    if error["type"] == "literal_error":
        return f'"{error["input"]}" is not a valid choice.'
    return str(error["ctx"]["error"]) if error["type"] == "value_error" else _MESSAGES[error["type"]]
