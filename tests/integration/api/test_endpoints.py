"""`/api/endpoints`: what is shown of the receivers of webhooks, to whom, and enabling them again."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from broker.batches import new_id
from tests.integration.api.endpoint_rows import ENDPOINTS, LATER, condition, owe, place
from tests.integration.api.lists import ids, ids_of_pages
from tests.integration.running import Broker

PATH = "/api/endpoints"
RIGHTS = ("submit", "read", "storage", "admin")
URL = "https://hooks.example.com/in"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
NOT_FOUND = {"detail": "Not found."}
NO_WORKSPACE = {"detail": "You are not allowed to access this workspace."}
FAILING: dict[str, Any] = {
    "state": "failing",
    "reason": "4 tries in a row failed",
    "since": 2_000,
    "failures": 7,
    "failing_since": 1_000,
    "recent": "[[1000, true]]",
}
DISABLED: dict[str, Any] = {**FAILING, "state": "disabled", "reason": "it answered 410 Gone", "recent": "[]"}


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Token {token}"}


@pytest.fixture
async def admin(broker: Broker) -> httpx.AsyncClient:
    """Speaks with a token that has the right `admin` and no other."""
    broker.http.headers.update(bearing(await broker.store.token("default", ["admin"])))
    return broker.http


async def enable(client: httpx.AsyncClient, id: str, **sent: Any) -> dict[str, Any]:
    answer = await client.post(f"{PATH}/{id}/enable", **sent)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_healthy_endpoint_has_exactly_these_keys(broker: Broker) -> None:
    id = await place(broker, URL, since=1_700_000_000_123, created=1_700_000_000_123)
    answer = await broker.get(f"{PATH}/{id}")
    assert answer == {
        "id": id,
        "workspace": broker.tenant.workspace,
        "url": URL,
        "state": "healthy",
        "reason": None,
        "since": "2023-11-14T22:13:20.123000Z",
        "failures": 0,
        "failing_since": None,
        "breaker": "closed",
        "open_until": None,
        "pending": 0,
        "created": "2023-11-14T22:13:20.123000Z",
    }
    assert await broker.get(PATH) == {"count": 1, "next": None, "previous": None, "results": [answer]}


async def test_failing_and_disabled_endpoints_tell_why_and_since_when(broker: Broker) -> None:
    for name, values in (("a", FAILING), ("b", DISABLED)):
        id = await place(broker, f"{URL}/{name}", **values)
        answer = await broker.get(f"{PATH}/{id}")
        assert (answer["state"], answer["reason"]) == (values["state"], values["reason"])
        assert (answer["failures"], answer["failing_since"]) == (7, "1970-01-01T00:00:01.000000Z")
        assert answer["since"] == "1970-01-01T00:00:02.000000Z"


async def test_url_is_shown_without_its_query_and_as_it_was_given(broker: Broker) -> None:
    for url in (
        f"{URL}?token=hush#top",
        "http://user.example:8080",
        "https://[fd00::1]/x",
        "https://h\u00f6k.example/\u00e4",
    ):
        id = await place(broker, url)
        answer = await broker.get(f"{PATH}/{id}")
        assert answer["url"] == url.partition("?")[0]


async def test_breaker_is_closed_open_or_half_open(broker: Broker) -> None:
    wanted = {
        None: ("closed", None),
        LATER: ("open", "9999-12-31T23:46:40.000000Z"),
        1: ("half-open", None),
    }
    for open_until, (breaker, until) in wanted.items():
        id = await place(broker, f"{URL}/{open_until}", open_until=open_until)
        answer = await broker.get(f"{PATH}/{id}")
        assert (answer["breaker"], answer["open_until"]) == (breaker, until)


async def test_pending_counts_what_is_due_or_held_back_and_nothing_else(broker: Broker) -> None:
    id, other = await place(broker, URL), await place(broker, f"{URL}/other")
    await owe(broker, id, due=1)
    await owe(broker, id, 2, due=LATER)
    await owe(broker, id, 3, held=1)
    for state in ("delivered", "exhausted", "refused", "superseded", "stopped"):
        await owe(broker, id, state=state)
    await owe(broker, id, state="delivered", manual=True, due=1)
    await owe(broker, other, 2, held=5)
    assert [(await broker.get(f"{PATH}/{one}"))["pending"] for one in (id, other)] == [7, 2]
    assert {item["id"]: item["pending"] for item in (await broker.get(PATH))["results"]} == {id: 7, other: 2}


async def test_filters_choose_and_take_several_values(broker: Broker) -> None:
    healthy = await place(broker, f"{URL}/1", created=1)
    failing = await place(broker, f"{URL}/2", created=2, state="failing")
    disabled = await place(broker, f"{URL}/3", created=3, state="disabled")
    for query, wanted in {
        "": [disabled, failing, healthy],
        "?state=healthy": [healthy],
        "?state=failing,disabled": [disabled, failing],
        "?state=failing&state=disabled": [disabled, failing],
        f"?state=disabled&workspace={broker.tenant.workspace}": [disabled],
    }.items():
        assert await ids(broker, PATH + query) == wanted, query


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("status=failing", {"status": ["Unknown query parameter."]}),
        ("url=x&State=failing", {"url": ["Unknown query parameter."], "State": ["Unknown query parameter."]}),
        ("state=", {"state": ['"" is not a valid choice.']}),
        ("state=failing,ill", {"state": ['"ill" is not a valid choice.']}),
        ("state=FAILING", {"state": ['"FAILING" is not a valid choice.']}),
        ("page=0", {"page": ["A positive integer is required."]}),
        ("page=1&page=1", {"page": ["It may come only once."]}),
        ("page_size=many", {"page_size": ["A positive integer is required."]}),
    ],
)
async def test_bad_query_is_a_400_that_names_it(broker: Broker, query: str, problem: dict[str, Any]) -> None:
    answer = await broker.http.get(f"{PATH}?{query}")
    assert (answer.status_code, answer.json()) == (400, problem)


async def test_unknown_query_of_one_endpoint_is_a_400(broker: Broker) -> None:
    answer = await broker.http.get(f"{PATH}/{await place(broker, URL)}?state=failing")
    assert (answer.status_code, answer.json()) == (400, {"state": ["Unknown query parameter."]})


async def test_pages_are_newest_first_and_keep_their_filters(broker: Broker) -> None:
    made = [await place(broker, f"{URL}/{number}", created=number // 2, state="failing") for number in range(5)]
    await place(broker, f"{URL}/well")
    pages = await ids_of_pages(broker, f"{PATH}?state=failing&page_size=2")
    assert [[made.index(id) // 2 for id in page] for page in pages] == [[2, 1], [1, 0], [0]]
    assert {id for page in pages for id in page} == {*made}
    answer = await broker.http.get(f"{PATH}?page=4&page_size=2")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Invalid page."})


async def test_id_that_is_not_there_is_a_404(broker: Broker, admin: httpx.AsyncClient) -> None:
    id = await place(broker, URL)
    read = bearing(broker.tenant.token)
    for other in ("0" * 32, id[:-1], id + "0", id.upper() + "x", new_id(), "%00", "%ff", "'", "a" * 5000):
        for answer in (
            await admin.get(f"{PATH}/{other}", headers=read),
            await admin.post(f"{PATH}/{other}/enable"),
        ):
            assert (answer.status_code, answer.json()) == (404, NOT_FOUND), other


async def test_endpoints_of_another_workspace_are_not_there(broker: Broker) -> None:
    """The same URL in two workspaces is two endpoints."""
    other = await broker.store.tenant("other", ["read", "admin"])
    mine, theirs = await place(broker, URL, **FAILING), await place(broker, URL, other.workspace)
    headers = bearing(other.token)
    assert (await ids(broker, PATH), await ids(broker, PATH, headers=headers)) == ([mine], [theirs])
    before = await condition(broker, mine)
    for answer in (
        await broker.http.get(f"{PATH}/{mine}", headers=headers),
        await broker.http.post(f"{PATH}/{mine}/enable", headers=headers),
    ):
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
    named = {"workspace": broker.tenant.workspace}
    for answer in (
        await broker.http.get(PATH, params=named, headers=headers),
        await broker.http.get(f"{PATH}/{mine}", params=named, headers=headers),
        await broker.http.post(f"{PATH}/{mine}/enable", json=named, headers=headers),
        await broker.http.post(f"{PATH}/{mine}/enable", params=named, headers=headers),
    ):
        assert (answer.status_code, answer.json()) == (403, NO_WORKSPACE)
    assert await condition(broker, mine) == before


async def test_operator_sees_and_enables_those_of_workspaces_that_are_granted(broker: Broker) -> None:
    operator = await broker.store.tenant("staff", ["read", "admin"], grants=["default"])
    mine, theirs = await place(broker, URL, created=1, **DISABLED), await place(broker, URL, operator.workspace)
    headers = bearing(operator.token)
    assert await ids(broker, PATH, headers=headers) == [theirs]
    both = f"?workspace={operator.workspace},{broker.tenant.workspace}"
    assert await ids(broker, PATH + both, headers=headers) == [theirs, mine]
    assert (await broker.get(f"{PATH}/{mine}", headers=headers))["workspace"] == broker.tenant.workspace
    elsewhere = {"workspace": operator.workspace}
    answer = await broker.http.post(f"{PATH}/{mine}/enable", json=elsewhere, headers=headers)
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
    assert (await enable(broker.http, mine, headers=headers))["state"] == "healthy"


async def test_every_other_right_together_is_not_enough(broker: Broker) -> None:
    id = await place(broker, URL, **FAILING)
    before = await condition(broker, id)
    for method, path, right in (
        ("GET", PATH, "read"),
        ("GET", f"{PATH}/{id}", "read"),
        ("POST", f"{PATH}/{id}/enable", "admin"),
    ):
        token = await broker.store.token("default", [other for other in RIGHTS if other != right])
        answer = await broker.http.request(method, path, headers=bearing(token))
        refusal = {"detail": f"You are not allowed to access this service: it needs the right `{right}`."}
        assert (answer.status_code, answer.json()) == (403, refusal)
        assert (await broker.http.request(method, path, headers={"Authorization": ""})).status_code == 401
    assert await condition(broker, id) == before


@pytest.mark.parametrize("values", [FAILING, DISABLED], ids=["failing", "disabled"])
async def test_enabled_endpoint_is_healthy_and_its_failures_and_breaker_forgotten(
    broker: Broker, admin: httpx.AsyncClient, values: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    id = await place(broker, URL, open_until=LATER, holding=True, **values)
    bystander = await place(broker, f"{URL}/other", **values)
    before = await condition(broker, id), await condition(broker, bystander)
    answer = await enable(admin, id)
    assert TIME.fullmatch(answer["since"])
    assert answer["since"] > "2023"
    told = {"state": "healthy", "reason": None, "failures": 0, "failing_since": None, "breaker": "closed"}
    assert {name: answer[name] for name in told} == told
    now = await condition(broker, id)
    healthy = {"state": "healthy", "reason": None, "failures": 0, "failing_since": None, "recent": "[]"}
    assert now == {**before[0], **healthy, "open_until": None, "since": now["since"]}
    assert await condition(broker, bystander) == before[1]
    assert await enable(admin, id) == answer
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    logged = [line for line in lines if line["event"] == "endpoint.enabled"]
    assert logged == [
        {"event": "endpoint.enabled", "level": "info", "endpoint": id, "workspace": broker.tenant.workspace}
    ]


async def test_enabling_a_healthy_endpoint_changes_nothing(
    broker: Broker, admin: httpx.AsyncClient, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor what is remembered of its calls: it is not failing yet."""
    id = await place(broker, URL, since=5, failures=3, failing_since=6, recent="[[6, true]]")
    before = await condition(broker, id)
    answer = await enable(admin, id)
    assert (answer["state"], answer["failures"], answer["breaker"]) == ("healthy", 3, "closed")
    assert await condition(broker, id) == before
    assert "endpoint.enabled" not in capfd.readouterr().out


async def test_enabling_closes_the_breaker_of_a_healthy_endpoint(broker: Broker, admin: httpx.AsyncClient) -> None:
    """Most of its calls failed, though never four in a row."""
    id = await place(broker, URL, since=5, failures=3, failing_since=6, recent="[[6, true]]", open_until=LATER)
    answer = await enable(admin, id)
    assert (answer["state"], answer["failures"], answer["breaker"]) == ("healthy", 0, "closed")


async def test_options_of_enable_are_read_strictly(broker: Broker, admin: httpx.AsyncClient) -> None:
    id = await place(broker, URL, **FAILING)
    before = await condition(broker, id)
    for sent, problem in (
        ({"json": {"force": True}}, {"force": ["Unknown option."]}),
        ({"params": {"state": "healthy"}}, {"state": ["Unknown option."]}),
        ({"json": {"workspace": 7}}, {"workspace": ["Not a valid string."]}),
        ({"json": []}, {"non_field_errors": ["Invalid data. Expected an object."]}),
    ):
        answer = await admin.post(f"{PATH}/{id}/enable", **sent)
        assert (answer.status_code, answer.json()) == (400, problem), sent
    assert await condition(broker, id) == before
    named = {"workspace": broker.tenant.workspace.upper()}
    assert (await enable(admin, id, params=named))["state"] == "healthy"


async def test_both_slash_forms_answer_alike(broker: Broker, admin: httpx.AsyncClient) -> None:
    id = await place(broker, URL)
    read = bearing(broker.tenant.token)
    for path in (PATH, f"{PATH}/{id}"):
        bare, slashed = [await admin.get(path + slash, headers=read) for slash in ("", "/")]
        assert (bare.status_code, bare.content) == (200, slashed.content)
    assert await enable(admin, f"{id}") == (await admin.post(f"{PATH}/{id}/enable/")).json()
    assert len(await broker.store.rows(ENDPOINTS.select())) == 1
