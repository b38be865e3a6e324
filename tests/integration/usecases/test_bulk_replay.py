"""Sending again whatever did not arrive in a certain time: all of it, once, and nothing else."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import select, update

from broker.batches import new_id
from broker.endpoints import endpoint_id
from broker.replay import CHUNK, NAMED, Replayed
from broker.store.replays import Looked, Lost, LostFilter, lost_deliveries
from tests.integration.owed import DELIVERIES, HOOK, change_endpoint, owe
from tests.integration.running import Broker
from tests.integration.store.rows import claim_due, everything

API = "/api/deliveries/replay"
NOON = 1_700_000_000_000
REQUIRED = ["This field is required."]
TIME = ["A time in ISO 8601 with its zone, or milliseconds since 1970, is required."]
IN_SECONDS = [f"This number seems to be in seconds. {TIME[0]}"]
SPAN = ("since", "until")
LATER = 2**52
HOUR_MS = 3_600_000


async def asked_for(broker: Broker) -> set[str]:
    rows = await broker.store.rows(select(DELIVERIES.c.id).where(DELIVERIES.c.manual))
    return {row.id for row in rows}


async def bulk(broker: Broker, what: str, since: int | str = 0, **options: Any) -> dict[str, Any]:
    answer = await broker.http.post(API, json={"what": what, "since": since, **options})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
async def ended(broker: Broker) -> dict[str, str]:
    """How deliveries ended, which is their name -> their ids."""
    ends: dict[str, dict[str, Any]] = {
        "exhausted": {"state": "exhausted", "attempts": 8},
        "refused": {"state": "refused", "attempts": 1},
        "stopped": {"state": "stopped", "attempts": 1},
        "missed": {"state": "stopped", "attempts": 0},
        "delivered": {"state": "delivered", "attempts": 1},
        "superseded": {"state": "superseded", "attempts": 1},
        "superseded untried": {"state": "superseded", "attempts": 0},
    }
    made = {name: (await owe(broker, **values, due=None, created=NOON))[0] for name, values in ends.items()}
    return {**made, "pending": (await owe(broker, attempts=1, due=LATER, created=NOON))[0]}


async def test_failed_are_those_whose_tries_all_failed(broker: Broker, ended: dict[str, str]) -> None:
    assert await bulk(broker, "failed") == {"replayed": 3, "refused": 0, "refusals": []}
    assert await asked_for(broker) == {ended[name] for name in ("exhausted", "refused", "stopped")}


async def test_missing_are_those_that_ended_without_a_try(broker: Broker, ended: dict[str, str]) -> None:
    assert await bulk(broker, "missing") == {"replayed": 1, "refused": 0, "refusals": []}
    assert await asked_for(broker) == {ended["missed"]}


async def test_only_those_that_were_owed_in_the_window_both_ends_included(broker: Broker) -> None:
    times = (NOON - 1, NOON, NOON + 1, NOON + 2)
    ids = {time: (await owe(broker, state="exhausted", attempts=1, due=None, created=time))[0] for time in times}
    assert (await bulk(broker, "failed", NOON, until=NOON + 1))["replayed"] == 2
    assert await asked_for(broker) == {ids[NOON], ids[NOON + 1]}
    assert (await bulk(broker, "failed", "2023-11-14T22:13:20.001Z"))["replayed"] == 2
    assert await asked_for(broker) == {ids[NOON], ids[NOON + 1], ids[NOON + 2]}
    assert (await bulk(broker, "failed", NOON - 3, until=NOON - 2))["replayed"] == 0


async def test_what_is_owed_after_now_is_left_alone(broker: Broker) -> None:
    """Or a walk would go on while new ones end behind it."""
    await owe(broker, state="exhausted", attempts=1, due=None, created=int(time.time() * 1000) + HOUR_MS)
    for options in ({}, {"until": 253_402_300_799_999}):
        assert (await bulk(broker, "failed", **options))["replayed"] == 0


async def test_other_workspaces_and_other_endpoints_stay(broker: Broker) -> None:
    other = await broker.store.tenant("other")
    lost: dict[str, Any] = {"state": "exhausted", "attempts": 1, "due": None}
    (mine,) = await owe(broker, **lost)
    (elsewhere,) = await owe(broker, url="https://other.example.com/", **lost)
    (theirs,) = await owe(broker, workspace=other.workspace, **lost)
    endpoint = endpoint_id(broker.tenant.workspace, HOOK)
    assert (await bulk(broker, "failed", endpoint=endpoint))["replayed"] == 1
    assert await asked_for(broker) == {mine}
    nobodys = await broker.http.post(API, params={"what": "failed", "since": 0, "endpoint": "\0"})
    assert nobodys.json()["replayed"] == 0
    assert (await bulk(broker, "failed"))["replayed"] == 2
    assert await asked_for(broker) == {mine, elsewhere}
    theirs_token = {"Authorization": f"Token {other.token}"}
    answer = await broker.http.post(API, params={"what": "failed", "since": "0"}, headers=theirs_token)
    assert answer.json()["replayed"] == 1
    assert await asked_for(broker) == {mine, elsewhere, theirs}


async def test_workspace_that_is_not_granted_is_a_403(broker: Broker, ended: dict[str, str]) -> None:
    other = await broker.store.tenant("other")
    options = {"what": "failed", "since": 0, "workspace": other.workspace}
    assert (await broker.http.post(API, json=options)).status_code == 403
    assert await asked_for(broker) == set()


@pytest.mark.parametrize("what", Lost)
async def test_more_than_a_chunk_are_sent_again_each_once(broker: Broker, what: Lost) -> None:
    """Those not meant stand before, between and behind them."""
    meant: dict[str, Any] = {"state": "stopped", "attempts": int(what is Lost.FAILED), "due": None}
    ids = set()
    await owe(broker, CHUNK + 3, due=LATER)
    for _ in range(3):
        ids |= set(await owe(broker, CHUNK // 2, **meant))
        await owe(broker, 3, state="delivered", attempts=1, due=None)
    done = await broker.web.replay.many(broker.tenant.workspace, what, 0, LATER)
    assert done == Replayed(len(ids), 0)
    assert await asked_for(broker) == ids


async def test_no_look_comes_to_another_workspace_or_to_more_than_its_limit(broker: Broker) -> None:
    other = await broker.store.tenant("other")
    lost: dict[str, Any] = {"state": "exhausted", "attempts": 1, "due": None}
    await owe(broker, 2, workspace=other.workspace, **lost)
    mine = [*reversed(await owe(broker, 3, **lost)), *await owe(broker, due=LATER)]
    which = LostFilter(broker.tenant.workspace, Lost.FAILED, 0, LATER)
    async with broker.core.database.reading() as connection:
        first = await lost_deliveries(connection, which, None, 2)
        rest = await lost_deliveries(connection, which, first[-1].id, 100)
    assert first == [Looked(id, chosen=True) for id in mine[:2]]
    assert rest == [Looked(mine[2], chosen=True), Looked(mine[3], chosen=False)]


async def test_refused_ones_are_counted_and_named_and_do_not_stop_it(broker: Broker) -> None:
    lost: dict[str, Any] = {"state": "exhausted", "attempts": 1, "due": None}
    disabled = await owe(broker, NAMED + 1, url="https://gone.example.com/", **lost)
    (good,) = await owe(broker, **lost)
    endpoint = await change_endpoint(broker, "https://gone.example.com/", state="disabled")
    done = await bulk(broker, "failed")
    assert (done["replayed"], done["refused"]) == (1, NAMED + 1)
    reason = f"Its endpoint {endpoint} is disabled; enable it first."
    assert done["refusals"] == [{"id": id, "reason": reason} for id in disabled[::-1][:NAMED]]
    assert await asked_for(broker) == {good}


async def test_those_that_are_being_sent_are_refused(broker: Broker) -> None:
    (id,) = await owe(broker, state="exhausted", attempts=1, manual=True)
    assert len(await claim_due(broker.core.database)) == 1
    assert await bulk(broker, "failed") == {
        "replayed": 0,
        "refused": 1,
        "refusals": [{"id": id, "reason": "It is being sent right now."}],
    }


async def test_asked_twice_it_is_one_try_each(broker: Broker) -> None:
    await owe(broker, 3, state="exhausted", attempts=1, due=None)
    for _ in range(2):
        assert (await bulk(broker, "failed"))["replayed"] == 3
    assert len(await claim_due(broker.core.database)) == 3
    await broker.store.change(update(DELIVERIES).values(manual=False, due=None))
    assert await claim_due(broker.core.database) == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, {"what": REQUIRED, "since": REQUIRED}),
        ({"what": "failed"}, {"since": REQUIRED}),
        ({"since": 0}, {"what": REQUIRED}),
        ({"what": "exhausted", "since": 0}, {"what": ['"exhausted" is not a valid choice.']}),
        ({"what": 1, "since": 0}, {"what": ['"1" is not a valid choice.']}),
        ({"what": "failed", "since": "2h"}, {"since": TIME}),
        ({"what": "failed", "since": None}, {"since": TIME}),
        ({"what": "failed", "since": 1_764_003_600, "until": 999_999_999_999}, dict.fromkeys(SPAN, IN_SECONDS)),
        ({"what": "failed", "since": 0, "until": -1}, {"until": TIME}),
        ({"what": "failed", "since": 0, "until": None}, {"until": TIME}),
        ({"what": "failed", "since": NOON, "until": NOON - 1}, {"until": ["This is before `since`."]}),
        ({"what": "failed", "since": 0, "endpoint": 7}, {"endpoint": ["Not a valid string."]}),
        ({"what": "failed", "since": 0, "state": "stopped"}, {"state": ["Unknown option."]}),
    ],
)
async def test_bad_option_is_a_400_that_names_it_and_sends_nothing(
    broker: Broker, ended: dict[str, str], options: dict[str, Any], problem: dict[str, Any]
) -> None:
    before = await everything(broker.core.database)
    answer = await broker.http.post(API, json=options)
    assert (answer.status_code, answer.json()) == (400, problem)
    assert await everything(broker.core.database) == before


async def test_options_may_stand_in_the_query(broker: Broker, ended: dict[str, str]) -> None:
    answer = await broker.http.post(f"{API}?what=failed&since={NOON}&until={NOON}")
    assert answer.json()["replayed"] == 3
    for query in ("what=failed&since=2h", "what=failed&since=0&until=x"):
        assert (await broker.http.post(f"{API}?{query}")).status_code == 400, query
    answer = await broker.http.get(API)
    assert answer.status_code == 405


async def test_ids_of_other_kinds_choose_nothing(broker: Broker, ended: dict[str, str]) -> None:
    assert (await bulk(broker, "failed", endpoint=new_id()))["replayed"] == 0
