"""Local copies of items: what a handler sees of a collection, however it runs, and how long a copy stays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from broker.errors import Unavailable
from broker.store.database import Database, open_database
from broker.store.items import Collection, Item, Put, put_items
from broker.work.snapshots import PAGE, Snapshots
from handlers.contract import Spec
from handlers.registry import Registry
from tests.integration.running import Broker, StartBroker, StartWorker, in_base64, photograph
from tests.recipes import recipe_types

RECIPES = Path(__file__).parents[2] / "recipes"
PICTURE = {"_base64": in_base64(photograph("chelsea-face.webp"))}
ALL = [f"item-{number}" for number in range(PAGE + PAGE // 2)]


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> Spec:
    monkeypatch.syspath_prepend(str(RECIPES))
    return Registry.installed()["pantry"]


@pytest.fixture
async def broker(spec: Spec, start_broker: StartBroker) -> Broker:
    return await start_broker()


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    folder = tmp_path / "copies"
    folder.mkdir()
    return folder


@pytest.fixture
async def snapshots(database: Database, copies: Path) -> Snapshots:
    return Snapshots(database, copies)


async def put(database: Database, workspace: str, grams: Mapping[str, int | None], pantry: str = "default") -> int:
    """Store items; None removes one."""
    items = tuple(Item(id, None if weight is None else json.dumps({"grams": weight})) for id, weight in grams.items())
    return await database.writer.write(put_items, Put(Collection(workspace, "pantry", pantry), items))


async def stock(broker: Broker, batch: dict[str, Any]) -> list[dict[str, int]]:
    found = await broker.done(batch["id"])
    return [record["stock"] for record in found["response"]["records"]]


@pytest.mark.parametrize("type", ["pantry", "pantry-isolated"])
async def test_a_handler_sees_the_items_as_they_are_when_its_run_begins(
    broker: Broker, start_worker: StartWorker, tmp_path: Path, type: str
) -> None:
    database, mine = broker.core.database, broker.tenant.workspace
    other = await broker.store.tenant("other")
    await put(database, mine, {"salt": 5, "flour": 500})
    await put(database, mine, {"wine": 750}, "cellar")
    await put(database, other.workspace, {"salt": 1, "theirs": 1})
    await start_worker(type)
    gate = tmp_path / "gate"
    held = await broker.post({"type": type, "records": [{**PICTURE, "gate": str(gate)}, PICTURE]})
    before = await broker.post({"type": type, "records": [PICTURE]})
    assert await stock(broker, before) == [{"salt": 5, "flour": 500}]
    await put(database, mine, {"salt": None, "flour": 400, "yeast": 7})
    after = await broker.post({"type": type, "records": [PICTURE]})
    assert await stock(broker, after) == [{"flour": 400, "yeast": 7}]
    gate.touch()
    assert await stock(broker, held) == [{"salt": 5, "flour": 500}] * 2
    elsewhere = await broker.post({"type": type, "pantry": "cellar", "records": [PICTURE]})
    assert await stock(broker, elsewhere) == [{"wine": 750}]


async def test_a_collection_that_does_not_exist_is_empty(broker: Broker, start_worker: StartWorker) -> None:
    await start_worker("pantry")
    batch = await broker.post({"type": "pantry", "pantry": "none", "records": [PICTURE]})
    assert await stock(broker, batch) == [{}]


async def test_a_handler_inside_another_one_sees_the_collection_that_its_own_parameters_name(
    broker: Broker, start_worker: StartWorker
) -> None:
    await put(broker.core.database, broker.tenant.workspace, {"wine": 750}, "cellar")
    await put(broker.core.database, broker.tenant.workspace, {"apples": 12}, "attic")
    await start_worker("pantry", "waiter")
    records = [{**PICTURE, "pantry": name} for name in ("cellar", "attic", "none")]
    batch = await broker.post({"type": "waiter", "records": records})
    assert await stock(broker, batch) == [{"wine": 750}, {"apples": 12}, {}]


async def test_a_copy_is_shared_until_something_changes_and_goes_with_its_last_user(
    database: Database, workspace_id: str, snapshots: Snapshots, spec: Spec, copies: Path
) -> None:
    params = spec.endpoints["look"]()
    await put(database, workspace_id, {"salt": 5})
    async with snapshots.of(workspace_id, spec, params) as first, snapshots.of(workspace_id, spec, params) as second:
        assert first == second
        await put(database, workspace_id, {"salt": 5})
        async with snapshots.of(workspace_id, spec, params) as third:
            assert third == first
        await put(database, workspace_id, {"salt": 6})
        async with snapshots.of(workspace_id, spec, params) as fourth:
            assert fourth != first
            assert len(list(copies.iterdir())) == 2
    assert list(copies.iterdir()) == [fourth["pantry", "default"]]


async def test_a_copy_that_nobody_asked_for_in_a_while_makes_room(
    database: Database, workspace_id: str, spec: Spec, copies: Path
) -> None:
    snapshots = Snapshots(database, copies, idle_seconds=0)
    look = spec.endpoints["look"]
    for pantry in ("a", "b", "c"):
        await put(database, workspace_id, {"salt": 5}, pantry)
        async with snapshots.of(workspace_id, spec, look.model_validate({"pantry": pantry})):
            assert len(list(copies.iterdir())) == 1
    async with snapshots.of(workspace_id, spec, look.model_validate({"pantry": "a"})) as again:
        assert [path for path in copies.iterdir() if path in again.values()]


async def test_all_items_of_a_large_collection_are_there_each_as_at_one_moment(
    database: Database, database_url: str, workspace_id: str, snapshots: Snapshots, spec: Spec, tmp_path: Path
) -> None:
    """Every commit of the other process changes all of them alike, also between two pages of a reader."""
    params = spec.endpoints["look"]()
    other = open_database(database_url, tmp_path)
    stopping = False

    async def change() -> None:
        grams = 1
        while not stopping:
            await put(other, workspace_id, dict.fromkeys(ALL, grams))
            grams += 1

    await put(database, workspace_id, dict.fromkeys(ALL, 0))
    writing = asyncio.create_task(change())
    seen = set[int]()
    async with asyncio.timeout(60):
        while len(seen) < 4:
            async with snapshots.of(workspace_id, spec, params) as paths:
                found = await asyncio.to_thread(recipe_types.stock, paths["pantry", "default"])
            assert len(found) == len(ALL)
            assert len(set(found.values())) == 1
            seen |= set(found.values())
    stopping = True
    await writing
    await other.aclose()


async def test_no_room_for_a_copy_is_no_fault_of_the_batch(
    database: Database, workspace_id: str, spec: Spec, copies: Path
) -> None:
    snapshots = Snapshots(database, copies / "gone")
    with pytest.raises(Unavailable):
        async with snapshots.of(workspace_id, spec, spec.endpoints["look"]()):
            pass
    (copies / "gone").mkdir()
    async with snapshots.of(workspace_id, spec, spec.endpoints["look"]()) as paths:
        assert paths["pantry", "default"].exists()
