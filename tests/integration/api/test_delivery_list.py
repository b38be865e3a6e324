"""`GET /api/deliveries` and `/api/deliveries/{id}`: what they show of webhooks, of which, and what they never show."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import insert, update

from broker.batches import new_id
from broker.endpoints import endpoint_id
from broker.secrets import Purpose
from tests.integration.api.lists import ids, ids_of_pages
from tests.integration.api.rows import fill
from tests.integration.owed import ATTEMPTS, DELIVERIES, HOOK, owe, shown_answers
from tests.integration.running import Broker, Tenant

LIST = "/api/deliveries"
ONLY_ONCE = ["It may come only once."]
NO_TIME = ["A time in ISO 8601 with its zone, or milliseconds since 1970, is required."]
IN_SECONDS = [f"This number seems to be in seconds. {NO_TIME[0]}"]
SECOND = 1000
NOON = 1_700_000_000_000


async def test_a_delivery_that_waits_has_exactly_these_keys(broker: Broker) -> None:
    (batch,) = await fill(broker, 1)
    (id,) = await owe(
        broker, url=f"{HOOK}?key=hidden", headers={"X-Key": "hidden"}, batch=batch, created=NOON, due=NOON
    )
    answer = await broker.get(f"{LIST}/{id}")
    assert answer == {
        "id": id,
        "workspace": broker.tenant.workspace,
        "batch": batch,
        "run": 1,
        "event": "batch.done",
        "endpoint": endpoint_id(broker.tenant.workspace, HOOK),
        "url": HOOK,
        "state": "pending",
        "attempts": 0,
        "next_try": "2023-11-14T22:13:20.000000Z",
        "held": False,
        "manual": False,
        "created": "2023-11-14T22:13:20.000000Z",
        "finished": None,
        "headers": {"X-Key": "***"},
        "body": '{"status":"DONE"}',
        "tries": [],
    }
    wanted = {name: value for name, value in answer.items() if name not in {"headers", "body", "tries"}}
    assert await broker.get(LIST) == {"count": 1, "next": None, "previous": None, "results": [wanted]}


async def test_tries_tell_what_came_of_each_and_one_under_way_has_no_end(broker: Broker) -> None:
    (id,) = await owe(broker, state="exhausted", attempts=3, due=None, finished=NOON)
    tries: list[dict[str, Any]] = [
        {"manual": False, "duration_ms": 20, "status_code": 500, "error": None, "response": "no"},
        {"manual": False, "duration_ms": 30, "status_code": None, "error": "timeout", "response": ""},
        {"manual": True, "duration_ms": None, "status_code": None, "error": None, "response": None},
    ]
    vault = broker.core.vault
    for number, one in reversed([*enumerate(tries, 1)]):
        box = None if one["response"] is None else vault.seal(Purpose.WEBHOOK_ANSWER, one["response"].encode())
        row = {**one, "response": box, "delivery_id": id, "number": number, "started": NOON + number * SECOND}
        await broker.store.change(insert(ATTEMPTS).values(**row))
    answer = await broker.get(f"{LIST}/{id}")
    assert (answer["state"], answer["attempts"], answer["next_try"]) == ("exhausted", 3, None)
    assert answer["finished"] == "2023-11-14T22:13:20.000000Z"
    assert answer["tries"] == [
        {**one, "number": number, "started": f"2023-11-14T22:13:2{number}.000000Z"}
        for number, one in enumerate(tries, 1)
    ]


async def answered(broker: Broker, answers: list[bytes], **target: Any) -> str:
    """The id of a delivery to `target` each of whose tries was answered so."""
    (id,) = await owe(broker, state="exhausted", attempts=len(answers), due=None, finished=NOON, **target)
    for number, body in enumerate(answers, 1):
        box = broker.core.vault.seal(Purpose.WEBHOOK_ANSWER, body)
        row = {"delivery_id": id, "number": number, "manual": False, "started": NOON, "duration_ms": 1, "response": box}
        await broker.store.change(insert(ATTEMPTS).values(**row))
    return id


async def test_an_answer_that_repeats_secrets_is_shown_without_them(broker: Broker) -> None:
    secret = "a-value-that-is-long"
    repeated = f"? {secret} &amp; another-one!".encode()
    cut = b"." * 19_995 + secret.encode()[:5]
    id = await answered(broker, [repeated, cut], url=f"{HOOK}?key=another-one", headers={"X-Key": secret})
    assert await shown_answers(broker, id) == ["? *** &amp; ***!", "." * 19_993 + "***"]


async def test_others_have_turns_while_answers_are_masked(broker: Broker) -> None:
    """On the event loop there would be none: its thread takes little of the time that the whole process takes."""
    headers = {f"X-{number}": f"{number}-of-eleven" * 300 for number in range(4)}
    id = await answered(broker, [b"%252541" * 2857] * 5, headers=headers)
    assert await broker.get(LIST)
    loop_before, all_before = time.thread_time(), time.process_time()
    assert len(await shown_answers(broker, id)) == 5
    loop, everything = time.thread_time() - loop_before, time.process_time() - all_before
    assert loop < everything / 2


async def test_what_is_held_back_or_asked_for_is_told(broker: Broker) -> None:
    (held,) = await owe(broker, due=None, held=NOON)
    (asked,) = await owe(broker, state="delivered", manual=True, due=NOON, finished=NOON)
    facts = [(one["id"], one["held"], one["manual"], one["next_try"]) for one in (await broker.get(LIST))["results"]]
    assert facts == [(asked, False, True, "2023-11-14T22:13:20.000000Z"), (held, True, False, None)]


async def test_what_the_operator_is_told_is_of_no_batch(broker: Broker) -> None:
    (id,) = await owe(broker, event="endpoint.disabled")
    answer = await broker.get(f"{LIST}/{id}")
    assert (answer["batch"], answer["event"]) == (None, "endpoint.disabled")


async def test_filters_choose_and_take_several_values(broker: Broker) -> None:
    (claid,) = await fill(broker, 1, dialect="claid", external_id="4711")
    other = "https://other.example.com/"
    by_state = {
        state: (await owe(broker, state=state, created=NOON + place * SECOND))[0]
        for place, state in enumerate(("pending", "delivered", "exhausted", "refused", "superseded", "stopped"))
    }
    (told,) = await owe(broker, event="delivery.exhausted", url=other, created=NOON + 6 * SECOND)
    (of_batch,) = await owe(broker, batch=claid, url=f"{other}?with=query", created=NOON + 7 * SECOND)
    everything = [of_batch, told, *reversed(by_state.values())]
    elsewhere = endpoint_id(broker.tenant.workspace, other)
    for query, wanted in {
        "": everything,
        "?state=pending": [of_batch, told, by_state["pending"]],
        "?state=exhausted,stopped": [by_state["stopped"], by_state["exhausted"]],
        "?state=refused&state=superseded,delivered": [by_state[s] for s in ("superseded", "refused", "delivered")],
        "?event=delivery.exhausted": [told],
        "?event=delivery.exhausted,batch.done": everything,
        "?batch=4711": [of_batch],
        f"?batch={claid}": [of_batch],
        f"?batch={claid.upper()}": [of_batch],
        f"?batch={new_id()}": [],
        "?batch=471": [],
        "?batch=": [],
        "?batch=%00": [],
        "?batch=%F0%9F%90%88": [],
        f"?endpoint={elsewhere}": [of_batch, told],
        f"?endpoint={elsewhere}&event=batch.done": [of_batch],
        f"?endpoint={elsewhere[:-1]}": [],
        "?endpoint=%00": [],
        f"?since={NOON + 6 * SECOND}": [of_batch, told],
        "?since=2023-11-14T22:13:26%2B00:00": [of_batch, told],
        f"?until={NOON}": [by_state["pending"]],
        f"?since={NOON + SECOND}&until={NOON + 2 * SECOND}": [by_state["exhausted"], by_state["delivered"]],
        f"?since={NOON - 2}&until={NOON - 1}": [],
        f"?workspace={broker.tenant.workspace}": everything,
    }.items():
        assert await ids(broker, LIST + query) == wanted, query


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("status=pending", {"status": ["Unknown query parameter."]}),
        ("state=PENDING", {"state": ['"PENDING" is not a valid choice.']}),
        ("state=", {"state": ['"" is not a valid choice.']}),
        ("event=batch.begun", {"event": ['"batch.begun" is not a valid choice.']}),
        ("since=2h", {"since": NO_TIME}),
        ("since=", {"since": NO_TIME}),
        ("until=2026-11-24", {"until": NO_TIME}),
        ("until=-1", {"until": NO_TIME}),
        ("since=1764003600&until=1764007200", {"since": IN_SECONDS}),
        ("until=999999999999999999", {"until": NO_TIME}),
        (f"since={NOON}&until={NOON - 1}", {"until": ["This is before `since`."]}),
        ("page=0", {"page": ["A positive integer is required."]}),
        *((f"{name}=1&{name}=1", {name: ONLY_ONCE}) for name in ("batch", "endpoint", "since", "until", "page_size")),
        ("page=1&page=1&url=x&url=x", {"url": ["Unknown query parameter."]}),
    ],
)
async def test_bad_query_is_a_400_that_names_it(broker: Broker, query: str, problem: dict[str, Any]) -> None:
    answer = await broker.http.get(f"{LIST}?{query}")
    assert (answer.status_code, answer.json()) == (400, problem)


async def test_unknown_or_doubled_query_of_one_delivery_is_a_400(broker: Broker) -> None:
    (id,) = await owe(broker)
    answer = await broker.http.get(f"{LIST}/{id}?body=true")
    assert (answer.status_code, answer.json()) == (400, {"body": ["Unknown query parameter."]})
    workspace = f"workspace={broker.tenant.workspace}"
    answer = await broker.http.get(f"{LIST}/{id}?{workspace}&{workspace}")
    assert (answer.status_code, answer.json()) == (400, {"workspace": ONLY_ONCE})


async def test_pages_keep_the_filters(broker: Broker) -> None:
    made = await owe(broker, 5)
    query = "?state=pending&state=stopped,refused&page_size=2"
    found = await broker.get(LIST + query, headers={"Host": "b.example.org"})
    parts = urlsplit(found["next"])
    assert (parts.scheme, parts.netloc, parts.path) == ("http", "b.example.org", LIST)
    assert parse_qs(parts.query) == {"state": ["pending", "stopped,refused"], "page_size": ["2"], "page": ["2"]}
    assert found["previous"] is None
    first, second, (last,) = await ids_of_pages(broker, f"{LIST}?state=pending&page_size=2")
    assert [*first, *second, last] == made
    answer = await broker.http.get(f"{LIST}?page=4&page_size=2")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Invalid page."})


async def test_id_that_is_not_there_is_a_404(broker: Broker) -> None:
    await owe(broker)
    for id in (new_id(), "1", "a" * 5000, "%00", "%F0%9F%90%88", new_id()[:-1]):
        answer = await broker.http.get(f"{LIST}/{id}")
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."}), id


async def test_id_is_found_in_any_case(broker: Broker) -> None:
    (id,) = await owe(broker)
    assert (await broker.get(f"{LIST}/{id.upper()}"))["id"] == id


@pytest.fixture
async def other(broker: Broker) -> Tenant:
    return await broker.store.tenant("other")


@pytest.fixture
async def granted(broker: Broker) -> Tenant:
    """A tenant whose token may use the default workspace, too."""
    return await broker.store.tenant("granted", grants=["default"])


def authorized(tenant: Tenant) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Token {tenant.token}"}}


async def test_deliveries_of_another_workspace_are_not_there(broker: Broker, other: Tenant) -> None:
    (claid,) = await fill(broker, 1, dialect="claid", external_id="4711")
    (id,) = await owe(broker, batch=claid)
    (theirs,) = await owe(broker, workspace=other.workspace)
    for query in ("", "?state=pending"):
        assert await ids(broker, LIST + query, **authorized(other)) == [theirs]
        assert await ids(broker, LIST + query) == [id]
    for query in ("?batch=4711", f"?batch={claid}", f"?endpoint={endpoint_id(broker.tenant.workspace, HOOK)}"):
        assert await ids(broker, LIST + query) == [id]
        assert await ids(broker, LIST + query, **authorized(other)) == []
    answer = await broker.http.get(f"{LIST}/{id}", **authorized(other))
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."})
    answer = await broker.http.get(f"{LIST}?workspace={broker.tenant.workspace}", **authorized(other))
    assert answer.status_code == 403


async def test_granted_workspace_is_listed_when_it_is_named_and_its_ids_are_found(
    broker: Broker, granted: Tenant
) -> None:
    (id,) = await owe(broker)
    (own,) = await owe(broker, workspace=granted.workspace)
    assert await ids(broker, LIST, **authorized(granted)) == [own]
    both = f"?workspace={granted.workspace},{broker.tenant.workspace}"
    assert await ids(broker, LIST + both, **authorized(granted)) == [own, id]
    assert (await broker.http.get(f"{LIST}/{id}", **authorized(granted))).json()["id"] == id
    narrowed = await broker.http.get(f"{LIST}/{id}?workspace={granted.workspace}", **authorized(granted))
    assert narrowed.status_code == 404


async def test_every_route_needs_its_right(broker: Broker) -> None:
    (id,) = await owe(broker)
    rights = ("submit", "read", "storage", "admin")
    bulk = {"what": "failed", "since": 0}
    for method, path, right in (
        ("GET", LIST, "read"),
        ("GET", f"{LIST}/{id}", "read"),
        ("POST", f"{LIST}/{id}/replay", "submit"),
        ("POST", f"{LIST}/replay", "submit"),
    ):
        options: dict[str, Any] = {"json": bulk} if path == f"{LIST}/replay" else {}
        others = await broker.store.token("default", [other for other in rights if other != right])
        answer = await broker.http.request(method, path, headers={"Authorization": f"Token {others}"}, **options)
        refusal = {"detail": f"You are not allowed to access this service: it needs the right `{right}`."}
        assert (answer.status_code, answer.json()) == (403, refusal), (method, path)
        answer = await broker.http.request(method, path, headers={"Authorization": ""}, **options)
        assert answer.status_code == 401, (method, path)
        alone = await broker.store.token("default", [right])
        answer = await broker.http.request(method, path, headers={"Authorization": f"JWT {alone}"}, **options)
        assert answer.status_code == 200, (method, path, answer.text)


async def test_both_slash_forms_answer_alike(broker: Broker) -> None:
    (id,) = await owe(broker)
    for path in (LIST, f"{LIST}/{id}"):
        bare, slashed = [await broker.http.get(path + slash) for slash in ("", "/")]
        assert bare.content == slashed.content, path
    for path in (f"{LIST}/{id}/replay/", f"{LIST}/replay/?what=failed&since=0"):
        assert (await broker.http.post(path)).status_code == 200, path


async def test_page_size_goes_up_to_200(broker: Broker) -> None:
    await owe(broker, 201)
    await broker.store.change(update(DELIVERIES).values(state="stopped"))
    assert len((await broker.get(LIST))["results"]) == 20
    assert len((await broker.get(LIST + "?page_size=1000"))["results"]) == 200
