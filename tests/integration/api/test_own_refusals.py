"""Who and what `/api` turns away, in which words; and that a refused POST changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select

from broker.batches import new_id
from broker.store.tables import WorkspaceRow, table
from tests.integration.api.rows import BATCHES, fill
from tests.integration.running import Broker

LIST = "/api/batches"
NO_CHOICE = '"{}" is not a valid choice.'
ONLY_ONCE = ["It may come only once."]
TIME = ["A time in ISO 8601 with its zone, or milliseconds since 1970, is required."]
IN_SECONDS = [f"This number seems to be in seconds. {TIME[0]}"]
REQUIRED = ["This field is required."]
TRUTH = ["Must be true or false."]
UNKNOWN = ["Unknown option."]
NOT_PROVIDED = {"detail": "Authentication credentials were not provided."}
NO_RIGHT = "You are not allowed to access this service: it needs the right `{}`."
NO_WORKSPACE = {"detail": "You are not allowed to access this workspace."}
NO_TIMES: Sequence[Any] = [
    *("yesterday", "", "2h", "2026-11-24", "2026-11-24T12:00:00", "2026-13-01T00:00:00Z", "1", "1e3"),
    *("1969-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00", -1, 1.5, True, None, [], {}, 10**15, 10**40),
]
VERBS = ("cancel", "retry", "pause", "resume")


def both_ways(**options: Any) -> list[dict[str, Any]]:
    """Options as httpx sends them in a body, and in the query."""
    return [{"json": options}, {"params": options}]


def routes(id: str) -> list[tuple[str, str, str]]:
    """(method, path, the right that it needs) of every route."""
    return [
        ("GET", LIST, "read"),
        ("GET", f"{LIST}/{id}", "read"),
        ("DELETE", f"{LIST}/{id}", "admin"),
        *(("POST", f"{LIST}/{id}/{verb}", "submit") for verb in VERBS),
        ("POST", f"{LIST}/retry", "submit"),
        ("POST", "/api/workspace/pause", "admin"),
        ("POST", "/api/workspace/resume", "admin"),
        ("GET", "/api/webhook-secret", "admin"),
        ("POST", "/api/webhook-secret", "admin"),
    ]


def needed(path: str) -> dict[str, Any]:
    """The options without which a route answers 400."""
    return {"outcome": "failed"} if path.rstrip("/") == f"{LIST}/retry" else {}


async def everything(broker: Broker) -> list[tuple[Any, ...]]:
    """All that an act could change."""
    batches = await broker.store.rows(select(BATCHES).order_by(BATCHES.c.id))
    workspaces = await broker.store.rows(select(table(WorkspaceRow)).order_by(table(WorkspaceRow).c.id))
    return [tuple(row) for row in (*batches, *workspaces)]


@pytest.fixture
async def id(broker: Broker) -> str:
    """A batch that waits, in a workspace with others that every act could change."""
    await fill(broker, 1, status="DONE", outcome="failed", finished=1)
    await fill(broker, 1, status="PAUSED")
    return (await fill(broker, 1))[0]


async def test_every_route_needs_its_right(broker: Broker, id: str) -> None:
    before = await everything(broker)
    rights = ("submit", "read", "storage", "admin")
    for method, path, right in routes(id):
        others = await broker.store.token("default", [other for other in rights if other != right])
        answer = await broker.http.request(method, path, headers={"Authorization": f"Token {others}"})
        assert (answer.status_code, answer.json()) == (403, {"detail": NO_RIGHT.format(right)}), (method, path)
        answer = await broker.http.request(method, path, headers={"Authorization": ""})
        assert (answer.status_code, answer.json()) == (401, NOT_PROVIDED), (method, path)
        assert answer.headers["www-authenticate"] == "Token"
    assert await everything(broker) == before


async def test_the_right_alone_is_enough(broker: Broker, id: str) -> None:
    for method, path, right in routes(id):
        token = await broker.store.token("default", [right])
        answer = await broker.http.request(method, path, headers={"Authorization": f"JWT {token}"}, params=needed(path))
        assert answer.status_code in {200, 204, 409}, (method, path, answer.text)


async def test_batch_of_another_workspace_is_not_there_for_any_route(broker: Broker, id: str) -> None:
    await fill(broker, 1, dialect="claid", external_id="4711")
    other = await broker.store.tenant("other", ["submit", "read", "admin"])
    before = await everything(broker)
    for name in (id, id.upper(), "4711"):
        for method, path, _ in routes(name):
            if name in path:
                answer = await broker.http.request(method, path, headers={"Authorization": f"Token {other.token}"})
                assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."}), (method, path)
    assert await everything(broker) == before


async def test_bulk_retry_and_workspace_pause_stay_in_the_callers_workspace(broker: Broker, id: str) -> None:
    other = await broker.store.tenant("other", ["submit", "read", "admin"])
    headers = {"Authorization": f"Token {other.token}"}
    before = await everything(broker)
    for path in (f"{LIST}/retry", "/api/workspace/pause", "/api/workspace/resume"):
        for workspace in (broker.tenant.workspace, new_id(), "no UUID", ""):
            for sent in both_ways(workspace=workspace, **needed(path)):
                answer = await broker.http.post(path, headers=headers, **sent)
                assert (answer.status_code, answer.json()) == (403, NO_WORKSPACE), (path, sent)
    answer = await broker.http.post(f"{LIST}/retry?outcome=failed", headers=headers)
    assert answer.json() == {"retried": 0, "refused": 0, "refusals": []}
    assert await everything(broker) == before
    answer = await broker.http.post("/api/workspace/pause", headers=headers)
    assert answer.json() == {"workspace": other.workspace, "paused": True}
    paused = select(table(WorkspaceRow).c.id).where(table(WorkspaceRow).c.paused)
    assert (await broker.store.row(paused)).id == other.workspace


async def test_granted_workspace_is_paused_when_it_is_named(broker: Broker) -> None:
    other = await broker.store.tenant("other", ["admin"], grants=["default"])
    named = {"workspace": broker.tenant.workspace.upper()}
    answer = await broker.http.post(
        "/api/workspace/pause", json=named, headers={"Authorization": f"Token {other.token}"}
    )
    assert answer.json() == {"workspace": broker.tenant.workspace, "paused": True}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"al": True}, {"al": UNKNOWN}),
        ({"all": True, "a": 1, "b": None}, {"a": UNKNOWN, "b": UNKNOWN}),
        ({"all": "true"}, {"all": TRUTH}),
        ({"all": 1}, {"all": TRUTH}),
        ({"all": None}, {"all": TRUTH}),
        ({"workspace": 7}, {"workspace": ["Not a valid string."]}),
        ({"workspace": ["x"], "all": []}, {"workspace": ["Not a valid string."], "all": TRUTH}),
    ],
)
async def test_bad_option_of_a_retry_is_a_400_that_names_it(
    broker: Broker, id: str, options: dict[str, Any], problem: dict[str, Any]
) -> None:
    before = await everything(broker)
    for path in (f"{LIST}/{id}/retry", f"{LIST}/retry"):
        answer = await broker.http.post(path, json={**options, **needed(path)})
        assert (answer.status_code, answer.json()) == (400, problem), path
    assert await everything(broker) == before


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"outcome": "good"}, {"outcome": [NO_CHOICE.format("good")]}),
        ({"outcome": ["failed", "FAILED", "x"]}, {"outcome": [NO_CHOICE.format("FAILED"), NO_CHOICE.format("x")]}),
        ({"outcome": [1]}, {"outcome": [NO_CHOICE.format("1")]}),
        ({"outcome": []}, {"outcome": ["This list may not be empty."]}),
        ({"outcome": 1}, {"outcome": ["Expected a list of items."]}),
        ({"outcome": {"failed": 1}}, {"outcome": ["Expected a list of items."]}),
        ({"outcome": None}, {"outcome": ["Expected a list of items."]}),
        ({}, {"outcome": REQUIRED}),
        ({"since": 0, "all": True}, {"outcome": REQUIRED}),
        ({"since": -1}, {"outcome": REQUIRED, "since": TIME}),
        *(({"outcome": "failed", "since": since}, {"since": TIME}) for since in NO_TIMES),
        ({"outcome": "x", "since": -1, "y": 0}, {"outcome": [NO_CHOICE.format("x")], "since": TIME, "y": UNKNOWN}),
    ],
)
async def test_bad_option_of_a_bulk_retry_is_a_400_that_names_it(
    broker: Broker, id: str, options: dict[str, Any], problem: dict[str, Any]
) -> None:
    before = await everything(broker)
    answer = await broker.http.post(f"{LIST}/retry", json=options)
    assert (answer.status_code, answer.json()) == (400, problem)
    assert await everything(broker) == before


async def test_bulk_retry_that_names_no_outcome_is_a_400_and_reruns_nothing(broker: Broker, id: str) -> None:
    """Or a POST without a body would run again all that ever failed."""
    before = await everything(broker)
    for path in (f"{LIST}/retry", f"{LIST}/retry/", f"{LIST}/retry?all=true&since=0"):
        answer = await broker.http.post(path)
        assert (answer.status_code, answer.json()) == (400, {"outcome": REQUIRED}), path
    assert await everything(broker) == before


async def test_bad_query_of_a_post_is_a_400_that_names_it(broker: Broker, id: str) -> None:
    before = await everything(broker)
    for query, problem in {
        "since=yesterday": {"since": TIME},
        "since=-1": {"since": TIME},
        "since=1764003600": {"since": IN_SECONDS},
        "since=%2B5": {"since": TIME},
        "since=٣": {"since": TIME},
        "since=9999999999999999999999": {"since": TIME},
        "all=yes": {"all": TRUTH},
        "all=": {"all": TRUTH},
        "all=1": {"all": TRUTH},
        "outcome=failed,": {"outcome": [NO_CHOICE.format("")]},
        "outcome=failed&outcome=x": {"outcome": [NO_CHOICE.format("x")]},
        "page=1": {"page": UNKNOWN},
        "page=1&page=2": {"page": UNKNOWN},
        "since=0&since=0&page=1&page=2&all=true&all=true": {"all": ONLY_ONCE, "since": ONLY_ONCE},
    }.items():
        answer = await broker.http.post(
            f"{LIST}/retry?{query}", json={} if "outcome" in query else {"outcome": "failed"}
        )
        assert (answer.status_code, answer.json()) == (400, problem), query
    assert await everything(broker) == before


async def test_option_of_another_route_is_unknown(broker: Broker, id: str) -> None:
    before = await everything(broker)
    admin = {"Authorization": f"Token {await broker.store.token('default', ['submit', 'admin'])}"}
    paths = [f"{LIST}/{id}/{verb}" for verb in VERBS] + ["/api/workspace/pause", "/api/workspace/resume"]
    for path in paths:
        for sent in both_ways(since=1):
            answer = await broker.http.post(path, headers=admin, **sent)
            assert (answer.status_code, answer.json()) == (400, {"since": UNKNOWN}), path
    answer = await broker.http.delete(f"{LIST}/{id}?all=true", headers=admin)
    assert (answer.status_code, answer.json()) == (400, {"all": ["Unknown query parameter."]})
    assert await everything(broker) == before


async def test_option_given_twice_is_refused(broker: Broker, id: str) -> None:
    answer = await broker.http.post(f"{LIST}/{id}/retry?all=true", json={"all": True})
    assert (answer.status_code, answer.json()) == (400, {"all": ["Given both in the body and in the query."]})
    answer = await broker.http.post(f"{LIST}/{id}/retry?all=true&all=false")
    assert (answer.status_code, answer.json()) == (400, {"all": ONLY_ONCE})


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"", None, 200),
        (b"", "text/plain", 200),
        (b"", "application/json", 200),
        (b"{}", "application/json", 200),
        (b" {} ", "application/vnd.api+json; charset=utf-8", 200),
        (b"{}", None, 415),
        (b"{}", "text/plain", 415),
        (b"workspace=x", "application/x-www-form-urlencoded", 415),
        (b" ", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b'"cancel"', "application/json", 400),
        (b'{"workspace": NaN}', "application/json", 400),
        (b'{"workspace": "\\u0000"}', "application/json", 400),
        (b'{"workspace": "\\ud800"}', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b'{"workspace": "' + b"x" * 70_000 + b'"}', "application/json", 413),
    ],
)
async def test_body_may_be_missing_and_must_else_be_a_small_json_object(
    broker: Broker, id: str, content: bytes, kind: str | None, code: int
) -> None:
    before = await everything(broker)
    headers = {} if kind is None else {"Content-Type": kind}
    answer = await broker.http.post(f"{LIST}/{id}/pause", content=content, headers=headers)
    assert answer.status_code == code, answer.text
    assert (await everything(broker) == before) is (code != 200)


async def test_slash_forms_answer_alike_and_other_methods_are_a_405(broker: Broker, id: str) -> None:
    token = await broker.store.token("default", ["submit", "read", "admin"])
    broker.http.headers["Authorization"] = f"Token {token}"
    allowed: dict[str, set[str]] = {}
    for method, path, _ in routes(id):
        allowed.setdefault(path, set()).update({method} | ({"HEAD"} if method == "GET" else set()))
    for path, methods in allowed.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - methods:
            answer = await broker.http.request(method, path)
            assert answer.status_code == 405, (method, path)
            assert set(answer.headers["allow"].split(", ")) == methods, (method, path)
    for path in (LIST, f"{LIST}/{id}"):
        bare, slashed = [await broker.http.get(path + slash) for slash in ("", "/")]
        assert (bare.status_code, bare.content) == (200, slashed.content)
    for path in (f"{LIST}/{id}/pause/", f"{LIST}/{id}/resume/", f"{LIST}/retry/", "/api/workspace/resume/"):
        assert (await broker.http.post(path, params=needed(path))).status_code == 200, path


async def test_unknown_path_is_a_404(broker: Broker, id: str) -> None:
    for path in ("/api", "/api/", "/api/batch", f"{LIST}/{id}/cancel/now", f"{LIST}/{id}/stop", "/api/workspace"):
        answer = await broker.http.post(path)
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."}), path
