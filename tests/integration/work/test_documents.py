"""Documents that a batch refers to are pinned at accept; what a handler says about all records is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from broker.store.documents import NewDocument, insert_documents
from broker.store.tables import BatchRow, table
from tests.integration.running import ROOT, Broker, StartBroker, StartWorker, in_base64, photograph

RECIPES = Path(__file__).parents[2] / "recipes"
PICTURE = {"_base64": in_base64(photograph("chelsea-face.webp"))}


@pytest.fixture
async def kitchen(monkeypatch: pytest.MonkeyPatch, start_broker: StartBroker) -> Broker:
    """A broker that knows the type of `tests/recipes`."""
    monkeypatch.syspath_prepend(str(RECIPES))
    return await start_broker()


async def write(kitchen: Broker, id: str, word: str, workspace: str | None = None) -> int:
    row = NewDocument(workspace or kitchen.tenant.workspace, "recipe", id, json.dumps({"word": word}))
    return await kitchen.core.database.writer.write(insert_documents, row)


async def cooked(kitchen: Broker, batch: dict[str, Any]) -> list[str]:
    found = await kitchen.done(batch["id"])
    return [record["word"] for record in found["response"]["records"]]


async def test_a_batch_keeps_the_version_that_was_newest_at_its_accept(
    kitchen: Broker, start_worker: StartWorker
) -> None:
    assert [await write(kitchen, "soup", word) for word in ("thin", "thick")] == [1, 2]
    newest = await kitchen.post({"type": "kitchen", "recipe": "soup", "records": [PICTURE, PICTURE]})
    oldest = await kitchen.post({"type": "kitchen", "recipe": "soup", "version": 1, "records": [PICTURE]})
    assert await write(kitchen, "soup", "salty") == 3
    await start_worker("kitchen")
    assert await cooked(kitchen, newest) == ["thick 0", "thick 1"]
    assert await cooked(kitchen, oldest) == ["thin 0"]


@pytest.mark.parametrize("params", [{"recipe": "cake"}, {"recipe": "soup", "version": 2}], ids=["id", "version"])
async def test_a_document_that_does_not_exist_is_a_400_that_names_the_parameter(
    kitchen: Broker, params: dict[str, Any]
) -> None:
    await write(kitchen, "soup", "thin")
    answer = await kitchen.http.post(ROOT, json={"type": "kitchen", "records": [PICTURE], **params})
    assert (answer.status_code, answer.json()) == (400, {"recipe": [f'There is no recipe "{params["recipe"]}".']})


async def test_a_document_of_another_workspace_does_not_exist(kitchen: Broker) -> None:
    other = await kitchen.store.tenant("other")
    await write(kitchen, "soup", "theirs", other.workspace)
    answer = await kitchen.http.post(ROOT, json={"type": "kitchen", "recipe": "soup", "records": [PICTURE]})
    assert answer.status_code == 400


async def test_what_a_handler_says_about_all_records_is_kept_and_not_shown(
    kitchen: Broker, start_worker: StartWorker
) -> None:
    await write(kitchen, "soup", "thin")
    batch = await kitchen.post({"type": "kitchen", "recipe": "soup", "records": [PICTURE, PICTURE]})
    await start_worker("kitchen")
    found = await kitchen.done(batch["id"])
    assert found["response"].keys() == {"records"}
    batches = table(BatchRow)
    row = await kitchen.store.row(select(batches.c.combined).where(batches.c.id == batch["id"]))
    assert json.loads(row.combined) == {"words": ["thin 0", "thin 1"]}


async def test_an_error_in_combining_costs_no_record_its_result(kitchen: Broker, start_worker: StartWorker) -> None:
    await write(kitchen, "soup", "thin")
    batch = await kitchen.post({"type": "kitchen", "recipe": "soup", "fail": True, "records": [PICTURE]})
    await start_worker("kitchen")
    assert await cooked(kitchen, batch) == ["thin 0"]
    batches = table(BatchRow)
    row = await kitchen.store.row(select(batches.c.combined, batches.c.outcome).where(batches.c.id == batch["id"]))
    assert (row.combined, row.outcome) == (None, "succeeded")
