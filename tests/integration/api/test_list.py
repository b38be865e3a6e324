"""The list: pages, filters, and addresses of other pages that a client can follow."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import select, update

from tests.integration.api.lists import ids_of_pages
from tests.integration.api.rows import BATCHES, fill
from tests.integration.running import ROOT, Broker


async def test_list_and_items_have_the_keys_of_the_page(broker: Broker) -> None:
    accepted = await broker.post({"type": "upscaler", "records": [{"_url": "https://a.example.com/"}]})
    listed = await broker.get(ROOT)
    assert set(listed) == {"count", "next", "previous", "results"}
    assert (listed["count"], listed["next"], listed["previous"]) == (1, None, None)
    keys = ("id", "status", "type", "created", "workspace")
    assert listed["results"] == [{key: accepted[key] for key in keys}]


async def test_empty_list_has_a_first_page(broker: Broker) -> None:
    assert await broker.get(ROOT) == {"count": 0, "next": None, "previous": None, "results": []}
    assert (await broker.http.get(f"{ROOT}/?page=2")).json() == {"detail": "Invalid page."}


async def test_pages_are_followed_from_the_newest_to_the_oldest(broker: Broker) -> None:
    ids = await fill(broker, 45)
    assert await ids_of_pages(broker, ROOT) == [ids[:20], ids[20:40], ids[40:]]
    back = (await broker.http.get(f"{ROOT}?page=3")).json()["previous"]
    assert [item["id"] for item in (await broker.http.get(back)).json()["results"]] == ids[20:40]


async def test_page_past_the_end_is_not_found(broker: Broker) -> None:
    await fill(broker, 3)
    for query in ("page=2", "page=4&page_size=1", "page=999999999"):
        answer = await broker.http.get(f"{ROOT}/?{query}")
        assert (answer.status_code, answer.json()) == (404, {"detail": "Invalid page."})


async def test_page_size_goes_up_to_200(broker: Broker) -> None:
    await fill(broker, 201)
    assert len((await broker.get(f"{ROOT}/?page_size=150"))["results"]) == 150
    largest = await broker.get(f"{ROOT}/?page_size=100000")
    assert len(largest["results"]) == 200
    assert len((await broker.http.get(largest["next"])).json()["results"]) == 1


@pytest.mark.parametrize("name", ["page", "page_size"])
async def test_page_that_is_no_positive_number_is_refused(broker: Broker, name: str) -> None:
    for value in ("0", "-1", "1.5", "a", "", "٣", "9999999999"):
        answer = await broker.http.get(ROOT, params={name: value})
        assert (answer.status_code, answer.json()) == (400, {name: ["A positive integer is required."]}), value


async def test_next_and_previous_keep_filters_and_the_host_of_the_client(broker: Broker) -> None:
    await fill(broker, 5)
    query = f"?status=CREATED&type=upscaler&page_size=2&page=2&workspace={broker.tenant.workspace}"
    found = await broker.get(f"{ROOT}/{query}", headers={"Host": "images.example.org:8443"})
    for key, number in (("next", "3"), ("previous", "1")):
        parts = urlsplit(found[key])
        assert (parts.scheme, parts.netloc, parts.path) == ("http", "images.example.org:8443", ROOT + "/")
        assert parse_qs(parts.query) == {
            "status": ["CREATED"],
            "type": ["upscaler"],
            "page_size": ["2"],
            "page": [number],
            "workspace": [broker.tenant.workspace],
        }


async def test_last_of_repeated_keys_wins(broker: Broker) -> None:
    """The vendor's client appends its filters to whatever address it was given."""
    ids = await fill(broker, 3)
    found = await broker.get(f"{ROOT}/?page=7&status=DONE&type=flows&page=1&status=CREATED&type=upscaler")
    assert [item["id"] for item in found["results"]] == ids


async def test_filters_choose_by_type_and_status(broker: Broker) -> None:
    created, paused, processing, done = [await fill(broker, 1) for _ in range(4)]
    for (id,), status, outcome in (
        (paused, "PAUSED", None),
        (processing, "PROCESSING", None),
        (done, "DONE", "succeeded"),
    ):
        await broker.store.change(update(BATCHES).where(BATCHES.c.id == id).values(status=status, outcome=outcome))
    wanted = {
        "status=CREATED": [*paused, *created],
        "status=PROCESSING": processing,
        "status=DONE": done,
        "status=DONE&type=upscaler": done,
        "type=upscaler": [*done, *processing, *paused, *created],
    }
    for query, ids in wanted.items():
        found = await broker.get(f"{ROOT}/?{query}")
        assert ([item["id"] for item in found["results"]], found["count"]) == (ids, len(ids)), query
        assert {item["status"] for item in found["results"]} <= {"CREATED", "PROCESSING", "DONE"}


async def test_types_of_the_page_are_legal_filters_though_not_installed(broker: Broker) -> None:
    await fill(broker, 1)
    for type in ("flows", "collectibles-recognition", "card-grader"):
        assert await broker.get(f"{ROOT}/?type={type}") == {"count": 0, "next": None, "previous": None, "results": []}


async def test_unknown_filter_is_refused(broker: Broker) -> None:
    unknown = ["Unknown query parameter."]
    problems = {
        "state=DONE": {"state": unknown},
        "Status=DONE&x=": {"Status": unknown, "x": unknown},
        "status=PAUSED": {"status": ['"PAUSED" is not a valid choice.']},
        "status=done": {"status": ['"done" is not a valid choice.']},
        "status=": {"status": ['"" is not a valid choice.']},
        "type=hostile": {"type": ['"hostile" is not a valid choice.']},
        "type=": {"type": ['"" is not a valid choice.']},
    }
    for query, problem in problems.items():
        answer = await broker.http.get(f"{ROOT}/?{query}")
        assert (answer.status_code, answer.json()) == (400, problem), query


async def test_list_shows_neither_children_nor_other_dialects_nor_other_workspaces(broker: Broker) -> None:
    (parent,) = await fill(broker, 1)
    await fill(broker, 1, parent_id=parent, ordinal=0)
    await fill(broker, 1, dialect="slashed")
    other = await broker.store.tenant("other")
    await fill(broker, 1, workspace_id=other.workspace)
    assert [item["id"] for item in (await broker.get(ROOT))["results"]] == [parent]


async def test_workspace_of_the_list_is_chosen_in_the_query(broker: Broker) -> None:
    (mine,) = await fill(broker, 1)
    other = await broker.store.tenant("other", grants=["default"])
    headers = {"Authorization": f"Bearer {other.token}"}
    assert (await broker.get(ROOT, headers=headers))["count"] == 0
    found = await broker.get(f"{ROOT}/?workspace={broker.tenant.workspace.upper()}", headers=headers)
    assert [item["id"] for item in found["results"]] == [mine]
    assert found["results"][0]["workspace"] == broker.tenant.workspace


async def test_rows_made_at_one_moment_keep_an_order(broker: Broker) -> None:
    ids = await fill(broker, 30, created=1)
    assert await broker.store.rows(select(BATCHES.c.id).where(BATCHES.c.created != 1)) == []
    first, second = await broker.get(f"{ROOT}/?page_size=15"), await broker.get(f"{ROOT}/?page_size=15&page=2")
    assert [item["id"] for item in (*first["results"], *second["results"])] == ids
