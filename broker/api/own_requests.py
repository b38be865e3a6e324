"""What all of our own routes do alike: tell which workspaces a request means, and answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pydantic import BaseModel
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from broker.api.auth import workspace_of, workspaces_seen
from broker.api.http import json_answer
from broker.api.parameters import check_single, comma_separated, known_query
from broker.store.workspaces import Token

ROOT = "/api"


def own_query(request: Request, single: Collection[str], lists: Collection[str] = ()) -> QueryParams:
    """The query of one of our own routes. Raises Invalid for another name, and for one of `single` that comes twice."""
    query = known_query(request, {*single, *lists})
    check_single(query, single)
    return query


def asked_workspaces(token: Token, texts: Sequence[str]) -> tuple[str, ...]:
    """Those asked for, or the token's home. Raises Forbidden for one not granted."""
    return tuple(workspace_of(token, asked) for asked in comma_separated(texts)) or (workspace_of(token, None),)


def named_workspaces(request: Request, token: Token) -> tuple[str, ...]:
    """Where an id without options is looked for."""
    return workspaces_seen(token, own_query(request, {"workspace"}).get("workspace"))


def answer(body: BaseModel) -> Response:
    """A body of one of our shapes."""
    return json_answer(body.model_dump_json().encode())
