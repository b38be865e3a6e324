"""`GET /api/batches` and `/api/batches/{id}`: what they show of batches of every dialect, and which."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import insert, update

from broker.batches import new_id
from broker.store.tables import ResultRow, table
from tests.integration.api.lists import ids, ids_of_pages
from tests.integration.api.rows import BATCHES, fill
from tests.integration.net.servers import Web
from tests.integration.running import ROOT, Broker, Tenant, Worker

LIST = "/api/batches"
RESULTS = table(ResultRow)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
KEYS = set("id external_id workspace dialect type endpoint status outcome run created modified finished counts".split())


async def mixed(broker: Broker, images: Web) -> str:
    """A batch whose first record is good and whose second is not, DONE."""
    records = [{"_url": images.url("/face.webp"), "_id": "front"}, {"_url": images.url("/none.jpg"), "_id": "back"}]
    accepted = await broker.post({"type": "upscaler", "records": records})
    await broker.done(accepted["id"])
    return str(accepted["id"])


async def test_waiting_batch_has_exactly_these_keys(broker: Broker) -> None:
    records = [{"_url": "https://a.example.com/"}] * 3
    accepted = await broker.post({"type": "upscaler", "endpoint": "upscale_4x", "records": records})
    answer = (await broker.http.get(f"{LIST}/{accepted['id']}")).json()
    assert answer == {
        "id": accepted["id"],
        "external_id": None,
        "workspace": broker.tenant.workspace,
        "dialect": "ximilar",
        "type": "upscaler",
        "endpoint": "upscale_4x",
        "status": "CREATED",
        "outcome": None,
        "run": 1,
        "created": accepted["created"],
        "modified": accepted["created"],
        "finished": None,
        "counts": {"records": 3, "finished": 0, "succeeded": 0, "failed": 0},
        "records": [],
    }
    assert await broker.get(LIST) == {
        "count": 1,
        "next": None,
        "previous": None,
        "results": [{name: value for name, value in answer.items() if name != "records"}],
    }


async def test_done_batch_tells_how_each_record_went(broker: Broker, worker: Worker, images: Web) -> None:
    id = await mixed(broker, images)
    details = await broker.details(id)
    answer = (await broker.http.get(f"{LIST}/{id}")).json()
    assert set(answer) == {*KEYS, "records"}
    assert (answer["status"], answer["outcome"], answer["run"]) == ("DONE", "partial", 1)
    assert answer["counts"] == {"records": 2, "finished": 2, "succeeded": 1, "failed": 1}
    assert answer["modified"] == details["modified"]
    assert TIME.fullmatch(answer["finished"])
    assert answer["created"] < answer["finished"] == answer["modified"]
    wanted = [record["_status"] for record in details["response"]["records"]]
    assert answer["records"] == [
        {"index": 0, "id": "front", "code": 200, "text": "OK"},
        {"index": 1, "id": "back", "code": wanted[1]["code"], "text": wanted[1]["text"]},
    ]
    assert answer["records"][1]["code"] >= 400


async def test_running_batch_tells_of_the_records_that_are_finished(broker: Broker) -> None:
    records = [{"_url": "https://a.example.com/", "_id": f"r{place}"} for place in range(4)]
    id = (await broker.post({"type": "upscaler", "records": records}))["id"]
    common = {"batch_id": id, "run": 1, "lease_seq": 1, "request_id": new_id(), "facts": "{}", "finished": 1}
    for place, code, text in ((2, 404, "gone"), (1, 204, "OK")):
        await broker.store.change(insert(RESULTS).values(position=place, code=code, text=text, **common))
    await broker.store.change(update(BATCHES).values(status="PROCESSING", lease_seq=1))
    answer = (await broker.http.get(f"{LIST}/{id}")).json()
    assert (answer["status"], answer["outcome"], answer["finished"]) == ("PROCESSING", None, None)
    assert answer["counts"] == {"records": 4, "finished": 2, "succeeded": 1, "failed": 1}
    assert answer["records"] == [
        {"index": 1, "id": "r1", "code": 204, "text": "OK"},
        {"index": 2, "id": "r2", "code": 404, "text": "gone"},
    ]


async def test_list_shows_all_dialects_but_neither_children_nor_other_workspaces(broker: Broker) -> None:
    (parent,) = await fill(broker, 1)
    await fill(broker, 1, parent_id=parent, ordinal=0)
    (claid,) = await fill(broker, 1, dialect="claid", external_id="4711")
    other = await broker.store.tenant("other")
    await fill(broker, 1, workspace_id=other.workspace)
    found = await broker.get(LIST)
    assert [(item["id"], item["dialect"], item["external_id"]) for item in found["results"]] == [
        (claid, "claid", "4711"),
        (parent, "ximilar", None),
    ]


async def test_batch_is_found_by_its_dialects_own_id_and_in_any_case_by_its_uuid(broker: Broker) -> None:
    (claid,) = await fill(broker, 1, dialect="claid", external_id="4711")
    for name in ("4711", claid, claid.upper()):
        assert (await broker.http.get(f"{LIST}/{name}")).json()["id"] == claid


async def test_id_that_is_not_there_is_a_404(broker: Broker) -> None:
    await fill(broker, 1, dialect="claid", external_id="4711")
    for id in (new_id(), "1", "47110", "a" * 5000, "%00", "%ff", "4711%00", "%F0%9F%90%88", "'", new_id()[:-1]):
        answer = await broker.http.get(f"{LIST}/{id}")
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."}), id


async def test_filters_choose_and_take_several_values(broker: Broker) -> None:
    created, paused, running = [
        (await fill(broker, 1, status=status))[0] for status in ("CREATED", "PAUSED", "PROCESSING")
    ]
    done = {
        outcome: (await fill(broker, 1, status="DONE", outcome=outcome))[0]
        for outcome in ("succeeded", "partial", "failed", "cancelled")
    }
    (flow,) = await fill(broker, 1, type="flows")
    all_done = [done[outcome] for outcome in ("cancelled", "failed", "partial", "succeeded")]
    for query, wanted in {
        "": [flow, *all_done, running, paused, created],
        "?status=PAUSED": [paused],
        "?status=CREATED": [flow, created],
        "?status=PAUSED,PROCESSING": [running, paused],
        "?status=PAUSED&status=PROCESSING": [running, paused],
        "?status=PAUSED&status=PROCESSING,DONE": [*all_done, running, paused],
        "?outcome=failed,partial": [done["failed"], done["partial"]],
        "?outcome=cancelled&status=DONE": [done["cancelled"]],
        "?outcome=cancelled&status=CREATED": [],
        "?type=flows": [flow],
        "?type=flows,upscaler&status=CREATED": [flow, created],
        "?dialect=ximilar&type=flows": [flow],
        f"?workspace={broker.tenant.workspace}&type=flows": [flow],
    }.items():
        assert await ids(broker, LIST + query) == wanted, query


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("state=DONE", {"state": ["Unknown query parameter."]}),
        ("Status=DONE&x=", {"Status": ["Unknown query parameter."], "x": ["Unknown query parameter."]}),
        ("status=done", {"status": ['"done" is not a valid choice.']}),
        ("status=", {"status": ['"" is not a valid choice.']}),
        ("status=DONE,", {"status": ['"" is not a valid choice.']}),
        ("status=DONE&status=GONE", {"status": ['"GONE" is not a valid choice.']}),
        ("outcome=good", {"outcome": ['"good" is not a valid choice.']}),
        ("outcome=null", {"outcome": ['"null" is not a valid choice.']}),
        ("dialect=%00", {"dialect": ['"\0" is not a valid choice.']}),
        ("type=hostile", {"type": ['"hostile" is not a valid choice.']}),
        ("page=0", {"page": ["A positive integer is required."]}),
        ("page=1&page=1", {"page": ["It may come only once."]}),
        ("page=one", {"page": ["A positive integer is required."]}),
        ("page_size=-1", {"page_size": ["A positive integer is required."]}),
    ],
)
async def test_bad_query_is_a_400_that_names_it(broker: Broker, query: str, problem: dict[str, Any]) -> None:
    answer = await broker.http.get(f"{LIST}?{query}")
    assert (answer.status_code, answer.json()) == (400, problem)


async def test_unknown_query_of_one_batch_is_a_400(broker: Broker) -> None:
    (id,) = await fill(broker, 1)
    answer = await broker.http.get(f"{LIST}/{id}?wait=3")
    assert (answer.status_code, answer.json()) == (400, {"wait": ["Unknown query parameter."]})


async def test_pages_keep_filters_that_have_several_values(broker: Broker) -> None:
    made = await fill(broker, 5)
    query = "?status=CREATED&status=PAUSED,DONE&page_size=2"
    found = await broker.get(LIST + query, headers={"Host": "b.example.org:8443"})
    parts = urlsplit(found["next"])
    assert (parts.scheme, parts.netloc, parts.path) == ("http", "b.example.org:8443", LIST)
    assert parse_qs(parts.query) == {"status": ["CREATED", "PAUSED,DONE"], "page_size": ["2"], "page": ["2"]}
    assert found["previous"] is None
    first, second, (last,) = await ids_of_pages(broker, f"{LIST}?status=CREATED&status=PAUSED&page_size=2")
    assert [*first, *second, last] == made
    answer = await broker.http.get(f"{LIST}?page=4&page_size=2")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Invalid page."})


async def test_page_size_goes_up_to_200(broker: Broker) -> None:
    await fill(broker, 201)
    assert len((await broker.get(LIST))["results"]) == 20
    assert len((await broker.get(LIST + "?page_size=1000"))["results"]) == 200


@pytest.fixture
async def granted(broker: Broker) -> Tenant:
    """A tenant whose token may use the default workspace, too."""
    return await broker.store.tenant("granted", grants=["default"])


async def test_same_workspaces_are_seen_as_in_ximilars_routes(broker: Broker, granted: Tenant) -> None:
    """Whatever the token, an id and a list are seen here if and only if they are seen there."""
    body = {"type": "upscaler", "records": [{"_url": "https://a.example.com/"}]}
    mine = (await broker.post(body))["id"]
    posted = await broker.http.post(ROOT, json=body, headers={"Authorization": f"Token {granted.token}"})
    theirs = posted.json()["id"]
    stranger = await broker.store.tenant("stranger")
    nowhere = new_id()
    for tenant in (broker.tenant, granted, stranger):
        headers = {"Authorization": f"Bearer {tenant.token}"}
        for workspace in (None, broker.tenant.workspace, granted.workspace.upper(), stranger.workspace, nowhere, "x"):
            query = f"?workspace={workspace}" if workspace else ""
            for path in ("", f"/{mine}", f"/{theirs}"):
                theirs_says = await broker.http.get(f"{ROOT}{path}{query}", headers=headers)
                ours_says = await broker.http.get(f"{LIST}{path}{query}", headers=headers)
                assert ours_says.status_code == theirs_says.status_code, (tenant, workspace, path)
                if theirs_says.status_code != 200:
                    assert ours_says.json() == theirs_says.json()
                elif not path:
                    assert [one["id"] for one in ours_says.json()["results"]] == [
                        one["id"] for one in theirs_says.json()["results"]
                    ]


async def test_list_takes_several_granted_workspaces(broker: Broker, granted: Tenant) -> None:
    (mine,) = await fill(broker, 1)
    (theirs,) = await fill(broker, 1, workspace_id=granted.workspace)
    headers = {"Authorization": f"Token {granted.token}"}
    assert await ids(broker, LIST, headers=headers) == [theirs]
    both = f"?workspace={granted.workspace},{broker.tenant.workspace}"
    assert await ids(broker, LIST + both, headers=headers) == [theirs, mine]
    answer = await broker.http.get(LIST + both)
    assert answer.status_code == 403
