"""Local copies of items: what a handler sees of a collection, however it runs, and how long a copy stays."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PosixPath
from threading import Event, current_thread, main_thread
from typing import Any

import pytest
from sqlalchemy import event

from broker.errors import Unavailable
from broker.store.database import Database, open_database
from broker.store.items import Collection, Item, Put, put_items
from broker.work.snapshots import PAGE, Snapshots
from handlers.contract import Spec
from handlers.registry import Registry
from tests.databases import run_aside
from tests.integration.running import PATIENCE, POLL_SECONDS, Broker, StartBroker, StartWorker, in_base64, photograph
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


def slow_folder(folder: Path) -> tuple[Path, Event, Event]:
    """A folder in which a thread has taken up its work (the first event), but gets on only when it may (the other)."""
    taken, may_begin = Event(), Event()

    class Slow(PosixPath):
        def __fspath__(self) -> str:
            if current_thread() is not main_thread():
                taken.set()
                may_begin.wait()
            return super().__fspath__()

    return Slow(folder), taken, may_begin


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """A write beyond `size` bytes of a file fails, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def put(database: Database, workspace: str, grams: Mapping[str, int | None], pantry: str = "default") -> int:
    """Store items; None removes one."""
    items = tuple(Item(id, None if weight is None else json.dumps({"grams": weight})) for id, weight in grams.items())
    return await database.writer.write(put_items, Put(Collection(workspace, "pantry", pantry), items))


async def stock(broker: Broker, batch: dict[str, Any]) -> list[dict[str, int] | None]:
    found = await broker.done(batch["id"])
    return [record["stock"] for record in found["response"]["records"]]


@pytest.mark.parametrize("type", ["pantry", "pantry-isolated"])
async def test_a_handler_sees_the_items_as_they_are_when_a_worker_takes_its_batch(
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
    async with asyncio.timeout(PATIENCE):
        while not gate.with_name("gate.reached").exists():
            await asyncio.sleep(POLL_SECONDS)
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
    records = [{**PICTURE, "asked": name} for name in ("cellar", "attic", "none")]
    batch = await broker.post({"type": "waiter", "records": records})
    assert await stock(broker, batch) == [{"wine": 750}, {"apples": 12}, {}]


async def test_a_handler_inside_another_one_sees_the_items_as_they_are_when_it_is_called(
    broker: Broker, start_worker: StartWorker, tmp_path: Path
) -> None:
    """The copy of each call is kept from its call on: the first handler still waits when the second one has ended."""
    database, mine = broker.core.database, broker.tenant.workspace
    await put(database, mine, {"wine": 750}, "cellar")
    await start_worker("pantry", "waiter")
    gate = tmp_path / "gate"
    held = await broker.post({"type": "waiter", "records": [{**PICTURE, "asked": "cellar", "gate": str(gate)}]})
    async with asyncio.timeout(PATIENCE):
        while not gate.with_name("gate.reached").exists():
            await asyncio.sleep(POLL_SECONDS)
    await put(database, mine, {"wine": 700}, "cellar")
    later = await broker.post({"type": "waiter", "records": [{**PICTURE, "asked": "cellar"}]})
    assert await stock(broker, later) == [{"wine": 700}]
    gate.touch()
    assert await stock(broker, held) == [{"wine": 750}]


@pytest.mark.parametrize(
    ("type", "params"),
    [("pantry", {}), ("pantry-isolated", {}), ("waiter", {"asked": "default"})],
    ids=["on_a_thread", "isolated", "inside"],
)
async def test_a_collection_that_the_parameters_do_not_refer_to_is_a_key_error(
    broker: Broker, start_worker: StartWorker, type: str, params: dict[str, str]
) -> None:
    await put(broker.core.database, broker.tenant.workspace, {"wine": 750}, "cellar")
    await start_worker(type, "pantry")
    batch = await broker.post({"type": type, "records": [{**PICTURE, **params, "pantry": "cellar"}]})
    assert await stock(broker, batch) == [None]


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


async def test_a_copy_makes_room_though_no_other_collection_changes(
    database: Database, workspace_id: str, spec: Spec, copies: Path
) -> None:
    snapshots = Snapshots(database, copies, idle_seconds=0)
    a, b = (spec.endpoints["look"].model_validate({"pantry": name}) for name in ("a", "b"))
    async with snapshots.of(workspace_id, spec, b) as paths:
        async with snapshots.of(workspace_id, spec, a):
            assert len(list(copies.iterdir())) == 2
        async with snapshots.of(workspace_id, spec, b) as again:
            assert again == paths
        assert list(copies.iterdir()) == [paths["pantry", "b"]]


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


async def test_a_copy_is_finished_while_a_load_changes_all_items_before_each_of_its_pages(
    database: Database, database_url: str, workspace_id: str, snapshots: Snapshots, spec: Spec, tmp_path: Path
) -> None:
    """A full page would always be followed by another one, for as long as the load goes on."""
    await put(database, workspace_id, dict.fromkeys(ALL, 0))
    rounds, grams = 10, 0

    async def change() -> None:
        other = open_database(database_url, tmp_path)
        await put(other, workspace_id, dict.fromkeys(ALL, grams))
        await other.aclose()

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def _load(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        nonlocal grams
        if "FROM items" in statement and grams < rounds:
            grams += 1
            run_aside(change())

    async with snapshots.of(workspace_id, spec, spec.endpoints["look"]()) as paths:
        found = recipe_types.stock(paths["pantry", "default"])
    assert len(found) == len(ALL)
    assert len(set(found.values())) == 1
    assert grams < rounds


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


async def test_a_disk_that_fills_up_while_changes_are_brought_in_leaves_the_older_copy_alone(
    database: Database, workspace_id: str, snapshots: Snapshots, spec: Spec, copies: Path
) -> None:
    params = spec.endpoints["look"]()
    await put(database, workspace_id, {"salt": 5})
    async with snapshots.of(workspace_id, spec, params) as small:
        await put(database, workspace_id, {f"{number}-{'x' * 1000}": 1 for number in range(PAGE)})
        with no_file_over(256 * 1024), pytest.raises(Unavailable):
            async with snapshots.of(workspace_id, spec, params):
                pass
        assert list(copies.iterdir()) == list(small.values())
        assert recipe_types.stock(small["pantry", "default"]) == {"salt": 5}
    async with snapshots.of(workspace_id, spec, params) as large:
        assert len(recipe_types.stock(large["pantry", "default"])) == PAGE + 1
    assert list(copies.iterdir()) == list(large.values())


async def test_nothing_is_kept_of_a_collection_whose_copy_failed(
    database: Database, workspace_id: str, spec: Spec, copies: Path
) -> None:
    snapshots = Snapshots(database, copies / "gone")
    for number in range(3):
        with pytest.raises(Unavailable):
            async with snapshots.of(workspace_id, spec, spec.endpoints["look"].model_validate({"pantry": f"{number}"})):
                pass
    async with asyncio.timeout(PATIENCE):  # the thread that failed lets go of the error a moment later
        while any(isinstance(each, Collection) and each.workspace == workspace_id for each in gc.get_objects()):
            await asyncio.sleep(POLL_SECONDS)
            gc.collect()


@pytest.mark.parametrize("times", [1, 2])
async def test_a_cancel_while_a_file_is_about_to_be_made_leaves_none(
    database: Database, workspace_id: str, spec: Spec, copies: Path, times: int
) -> None:
    folder, taken, may_begin = slow_folder(copies)
    snapshots, params = Snapshots(database, folder), spec.endpoints["look"]()

    async def ask() -> None:
        async with snapshots.of(workspace_id, spec, params):
            pass

    asking = asyncio.create_task(ask())
    while not taken.is_set():
        await asyncio.sleep(0.001)
    for _ in range(times):
        asking.cancel()
        await asyncio.wait({asking}, timeout=0.02)
    may_begin.set()
    with suppress(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0.2)  # for a thread that nobody has waited for
    assert asking.cancelled()
    assert not list(copies.iterdir())
