"""A record over its type's time limit gets 504: that one, and no record that merely waited or stood beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from broker.store.documents import NewDocument, insert_documents
from broker.store.tables import BatchRow, table
from broker.work.scratch import PREFIX
from tests.integration.running import Broker, StartBroker, StartWorker, in_base64, photograph, until

SLOW_TYPES = Path(__file__).parents[2] / "slow_types"
PICTURE = {"_base64": in_base64(photograph("chelsea-face.webp"))}
TYPES = ("slow", "slow-isolated", "slow-outer")
TOO_LONG = (504, "the record took longer than 2 s")


@pytest.fixture
async def broker(monkeypatch: pytest.MonkeyPatch, start_broker: StartBroker) -> Broker:
    """A broker that knows the types of `tests/slow_types`."""
    monkeypatch.syspath_prepend(str(SLOW_TYPES))
    return await start_broker()


def act(name: str, **fields: Any) -> dict[str, Any]:
    return {**PICTURE, "act": name, **fields}


def statuses(records: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(record["_status"]["code"], record["_status"]["text"]) for record in records]


@pytest.mark.parametrize(
    ("type", "inner"),
    [("slow", ""), ("slow-isolated", ""), ("slow-outer", "slow"), ("slow-outer", "slow-isolated")],
)
async def test_waiting_for_a_turn_takes_no_time(
    broker: Broker, start_worker: StartWorker, type: str, inner: str
) -> None:
    """Three records on one thread that take longer than one may; also where they run inside another type."""
    await start_worker("slow", "slow-isolated", "slow-outer", worker_threads=1)
    records = await broker.run(type, *[act("sleep", seconds=0.7, inner=inner)] * 3)
    assert statuses(records) == [(200, "OK")] * 3


@pytest.mark.parametrize("type", TYPES)
async def test_handler_that_does_not_end_is_a_504_and_its_neighbour_succeeds(
    broker: Broker, start_worker: StartWorker, tmp_path: Path, type: str
) -> None:
    await start_worker("slow", "slow-isolated", "slow-outer", worker_threads=2)
    gate = tmp_path / "gate"
    try:
        records = await broker.run(type, act("deaf", gate=str(gate), inner="slow"), act("tell", inner="slow"))
    finally:
        gate.touch()
    assert statuses(records) == [TOO_LONG, (200, "OK")]


async def test_thread_that_does_not_end_recycles_the_worker(
    broker: Broker, start_worker: StartWorker, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its own batch ends before that."""
    worker = await start_worker("slow", worker_threads=1)
    gate = tmp_path / "gate"
    stopped: list[bool] = []
    worker.work.crew.on_recycle(lambda: stopped.append(True))
    batch = await broker.post({"type": "slow", "records": [act("deaf", gate=str(gate), _id="culprit"), act("tell")]})

    async def recycling() -> bool:
        return worker.work.crew.recycling

    try:
        assert statuses((await broker.done(batch["id"]))["response"]["records"]) == [TOO_LONG, (200, "OK")]
        assert stopped == []
        await until(recycling)
    finally:
        gate.touch()
    assert stopped == [True]
    (line,) = [line for line in capfd.readouterr().out.splitlines() if "worker.recycling" in line]
    assert all(named in line for named in (batch["id"], "culprit", "slow"))


async def test_thread_that_ends_late_recycles_nothing(
    broker: Broker, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = await start_worker("slow", worker_threads=1)
    gate = tmp_path / "gate"
    assert statuses(await broker.run("slow", act("deaf", gate=str(gate)))) == [TOO_LONG]
    gate.touch()
    assert statuses(await broker.run("slow", *[act("sleep", seconds=0.8)] * 8)) == [(200, "OK")] * 8
    assert not worker.work.crew.recycling


async def test_isolated_handlers_end_as_others_do(broker: Broker, start_worker: StartWorker, tmp_path: Path) -> None:
    """A process that dies is tried MAX_TRIES times; nothing costs the neighbours their results."""
    await start_worker("slow-isolated", max_tries=2)
    notes = {name: str(tmp_path / name) for name in ("leave", "fall", "starve", "later")}
    records = await broker.run(
        "slow-isolated",
        *(act(name, notes=path) for name, path in notes.items()),
        *(act(name) for name in ("refuse", "crash", "unpicklable", "tell")),
    )
    died = (500, "the record failed 2 times")
    (*others, refused, crashed, unpicklable, told) = statuses(records)
    assert others == [died, died, died, (200, "OK")]
    assert (refused, told) == ((422, "too slow"), (200, "OK"))
    assert [(code, text[:15]) for code, text in (crashed, unpicklable)] == [(500, "internal error ")] * 2
    assert {len(Path(path).read_text().splitlines()) for path in notes.values()} == {2}


async def test_traceback_of_an_isolated_handler_is_in_the_log_and_in_no_answer(
    broker: Broker, start_worker: StartWorker, capfd: pytest.CaptureFixture[str]
) -> None:
    await start_worker("slow-isolated")
    (record,) = await broker.run("slow-isolated", act("crash"))
    error_id = record["_status"]["text"].removeprefix("internal error ")
    logged = capfd.readouterr().out
    assert error_id in logged
    assert "ValueError: a secret of the handler" in logged
    assert "secret" not in json.dumps(record)


async def test_documents_and_outputs_cross_to_isolated_handlers_and_back(
    broker: Broker, start_worker: StartWorker
) -> None:
    document = NewDocument(broker.tenant.workspace, "note", "n", json.dumps({"word": "soup"}))
    await broker.core.database.writer.write(insert_documents, document)
    await start_worker("slow-patient", worker_threads=1)
    batch = await broker.post({"type": "slow-patient", "note": "n", "records": [act("tell"), act("files")]})
    told, filed = (await broker.done(batch["id"]))["response"]["records"]
    assert told["word"] == "soup"
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        assert (await client.get(filed["_url"])).content == b"from a file"
    assert Path(filed["scratch"]).parent.name.startswith(PREFIX)
    assert not Path(filed["scratch"]).exists()
    batches = table(BatchRow)
    row = await broker.store.row(select(batches.c.combined).where(batches.c.id == batch["id"]))
    assert json.loads(row.combined) == {"pid": told["pid"], "records": 2}
