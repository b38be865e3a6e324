"""Handlers of other parties that do what they must not: the record says so, the worker and the others go on."""

from __future__ import annotations

import asyncio
import errno
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from broker.store.tables import BatchRow, ResultRow, table
from tests.integration.running import ROOT, Broker, StartBroker, StartWorker, as_blob, in_base64, photograph, until

SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}
TYPES = ("hostile", "hostile-async")


@pytest.fixture
async def broker(hostile: Path, start_broker: StartBroker) -> Broker:
    return await start_broker()


@pytest.fixture
async def ledger(tmp_path: Path) -> Path:
    """A file in which the hostile handlers note what they do."""
    path = tmp_path / "ledger"
    path.touch()
    return path


def statuses(records: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(record["_status"]["code"], record["_status"]["text"]) for record in records]


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("endpoint", ["crash", "leave", "cancel"])
async def test_handler_that_breaks_is_an_internal_error_with_an_id(
    broker: Broker, start_worker: StartWorker, type: str, endpoint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever it raises: an exception, sys.exit() or a cancellation that nobody asked for."""
    await start_worker()
    (record,) = await broker.run(type, SOURCE, endpoint=endpoint)
    ((code, text),) = statuses([record])
    assert code == 500
    assert text.startswith("internal error ")
    assert text.removeprefix("internal error ") in capfd.readouterr().out
    assert statuses(await broker.run(type, SOURCE)) == [(200, "OK")]


@pytest.mark.parametrize("type", TYPES)
async def test_facts_that_cannot_be_kept_are_an_internal_error(
    broker: Broker, start_worker: StartWorker, type: str
) -> None:
    await start_worker()
    kinds = ("nan", "set", "bytes", "object", "nul", "surrogate", "tuple key", "none", "list")
    records = await broker.run(type, *({**SOURCE, "kind": kind} for kind in kinds), endpoint="facts")
    for kind, (code, text) in zip(kinds, statuses(records), strict=True):
        assert (code, text[:15]) == (500, "internal error "), kind


async def test_outputs_that_cannot_be_kept_are_an_internal_error(broker: Broker, start_worker: StartWorker) -> None:
    await start_worker(max_tries=1)
    kinds = ("bad name", "empty name", "no bytes", "no file", "forged output")
    records = await broker.run("hostile", *({**SOURCE, "kind": kind} for kind in kinds), endpoint="facts")
    assert [code for code, _ in statuses(records)] == [500] * len(kinds)
    assert not [key for key in broker.blobs if key.startswith("out/")]
    assert not list(broker.core.settings.data_dir.rglob("escape.png"))


async def test_customers_keys_never_become_links(broker: Broker, start_worker: StartWorker) -> None:
    """A handler that repeats what the customer sent must not be a way to another workspace's files."""
    other = await broker.store.tenant("other")
    headers = {"Authorization": f"Token {other.token}"}
    await broker.http.post(ROOT, json={"type": "hostile", "records": [as_blob(b"theirs")]}, headers=headers)
    (theirs,) = broker.blobs
    await start_worker()
    forged = {"$output": theirs}
    (record,) = await broker.run("hostile", {**SOURCE, "a": forged, "b": [forged]})
    assert "signature=" not in json.dumps(record)
    assert record["a"] == forged


@pytest.mark.parametrize("type", TYPES)
async def test_refusal_reaches_the_customer_whole_and_printable(
    broker: Broker, start_worker: StartWorker, type: str
) -> None:
    await start_worker()
    kinds = ("plain", "nul", "surrogate", "no text", "success", "no code", "huge")
    records = await broker.run(type, *({**SOURCE, "kind": kind} for kind in kinds), endpoint="refuse")
    plain, nul, surrogate, no_text, success, no_code, huge = statuses(records)
    assert plain == (422, "too blurred")
    assert (nul[0], surrogate[0], no_text[0], huge[0]) == (422, 422, 422, 422)
    assert 0 < len(huge[1]) < 2000
    assert (success[0], no_code[0]) == (500, 500)
    row = await broker.store.row(select(table(BatchRow).c.outcome))
    assert row.outcome == "failed"


@pytest.mark.parametrize("type", ["hostile-slow", "hostile-async-slow"])
async def test_record_over_the_time_limit_is_a_504(
    broker: Broker, start_worker: StartWorker, type: str, ledger: Path, tmp_path: Path
) -> None:
    await start_worker(worker_threads=2)
    stuck = {**SOURCE, "ledger": str(ledger), "gate": str(tmp_path / "gate")}
    bad, good = await broker.run(type, stuck, {**SOURCE, "ledger": str(ledger)}, endpoint="gate")
    assert statuses([bad, good]) == [(504, "the record took longer than 0.5 s"), (200, "OK")]

    async def cancelled() -> bool:
        return "0 cancelled" in ledger.read_text()

    await until(cancelled)


async def test_records_that_hang_do_not_use_up_the_worker(
    broker: Broker, start_worker: StartWorker, ledger: Path, tmp_path: Path
) -> None:
    await start_worker(worker_threads=1)
    gate = tmp_path / "gate"
    deaf = {**SOURCE, "ledger": str(ledger), "gate": str(gate)}
    try:
        records = await broker.run("hostile-slow", deaf, deaf, endpoint="stubborn")
        assert [code for code, _ in statuses(records)] == [504, 504]
        assert sorted(ledger.read_text().splitlines()) == ["0 started", "1 started"]
        assert statuses(await broker.run("hostile", SOURCE)) == [(200, "OK")]
    finally:
        gate.touch()


async def test_time_spent_waiting_for_a_thread_does_not_count(
    broker: Broker, start_worker: StartWorker, ledger: Path
) -> None:
    """Five records of 0.2 s each on one thread, where one may take 0.5 s."""
    await start_worker(worker_threads=1)
    source = {**SOURCE, "ledger": str(ledger), "seconds": 0.2}
    records = await broker.run("hostile-slow", *[source] * 5, endpoint="sleep")
    assert statuses(records) == [(200, "OK")] * 5


async def test_record_that_may_pass_is_tried_again(broker: Broker, start_worker: StartWorker, ledger: Path) -> None:
    await start_worker(max_tries=3)
    twice, thrice = await broker.run(
        "hostile",
        *({**SOURCE, "ledger": str(ledger), "failures": failures} for failures in (2, 3)),
        endpoint="flaky",
    )
    assert statuses([twice, thrice]) == [(200, "OK"), (500, "the record failed 3 times")]
    assert twice["done"] is True
    assert ledger.read_text().count("0 started") == 3
    assert ledger.read_text().count("1 started") == 3


async def test_disk_error_of_a_handler_is_tried_again_and_given_up(
    broker: Broker, start_worker: StartWorker, ledger: Path
) -> None:
    await start_worker(max_tries=2)
    denied = {**SOURCE, "ledger": str(ledger), "errno": errno.EACCES, "failures": 3}
    (record,) = await broker.run("hostile", denied, endpoint="no_disk")
    assert statuses([record]) == [(500, "the record failed 2 times")]
    assert ledger.read_text().splitlines() == ["0 started"] * 2


async def test_full_disk_of_the_worker_gives_the_batch_back_and_is_no_fault_of_the_record(
    broker: Broker, start_worker: StartWorker, ledger: Path
) -> None:
    await start_worker(max_tries=2)
    full = {**SOURCE, "ledger": str(ledger), "errno": errno.ENOSPC, "failures": 3}
    (record,) = await broker.run("hostile", full, endpoint="no_disk")
    assert statuses([record]) == [(200, "OK")]
    assert ledger.read_text().splitlines() == ["0 started"] * 4
    batch = await broker.store.row(select(table(BatchRow)))
    assert (batch.lease_seq, batch.crashes) == (2, 0)


async def test_outputs_at_any_depth_become_links(broker: Broker, start_worker: StartWorker) -> None:
    await start_worker()
    (record,) = await broker.run("hostile", SOURCE, endpoint="files")
    urls = [record["_url_of_file"], record["pages"][0]["image"]]
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        assert [(await client.get(url)).content for url in urls] == [b"from a file", b"first"]
    assert record["pages"][1] == {"image": None}
    facts = await broker.store.row(select(table(ResultRow).c.facts))
    assert "signature" not in facts.facts
    assert "http" not in facts.facts


async def test_parameter_with_a_name_of_its_own_on_the_wire(broker: Broker, start_worker: StartWorker) -> None:
    await start_worker()
    (record,) = await broker.run("hostile", SOURCE, endpoint="renamed", **{"how-much": 7})
    assert (statuses([record]), record["amount"]) == ([(200, "OK")], 7)
    answer = await broker.http.post(
        ROOT, json={"type": "hostile", "endpoint": "renamed", "records": [SOURCE], "how-much": "much"}
    )
    assert (answer.status_code, list(answer.json())) == (400, ["how-much"])


async def test_handler_inside_a_handler(broker: Broker, start_worker: StartWorker) -> None:
    await start_worker()
    inner = [
        {"type": "upscaler", "endpoint": "upscale_2x"},
        {"type": "hostile", "endpoint": "crash"},
        {"type": "oracle", "endpoint": "x"},
        {"type": "hostile", "endpoint": "x"},
    ]
    records = await broker.run("hostile-async", *({**SOURCE, **keys} for keys in inner), endpoint="relay")
    assert records[0]["_upscaled_width"] == 480
    assert [code for code, _ in statuses(records)] == [200, 500, 422, 422]


async def test_handlers_inside_handlers_do_not_wait_for_each_other_for_ever(
    broker: Broker, start_worker: StartWorker
) -> None:
    await start_worker(worker_threads=1)
    keys = {"type": "hostile", "endpoint": "echo"}
    results = await asyncio.gather(
        *(broker.run("hostile-async", *[{**SOURCE, **keys}] * 3, endpoint="relay") for _ in range(4))
    )
    assert {code for records in results for code, _ in statuses(records)} == {200}


async def test_references_that_cannot_be_told_any_more_cost_no_batch_its_end(
    broker: Broker, start_worker: StartWorker, tmp_path: Path
) -> None:
    """A type's own code failed before any record began; the worker goes on, and so do the records."""
    trap = tmp_path / "trap"
    batch = await broker.post({"type": "hostile", "endpoint": "trap", "trap": str(trap), "records": [SOURCE, SOURCE]})
    trap.touch()
    await start_worker("hostile")
    records = (await broker.done(batch["id"]))["response"]["records"]
    assert [record["_status"]["code"] for record in records] == [200, 200]
    row = await broker.store.row(select(table(BatchRow).c.crashes))
    assert row.crashes == 0
