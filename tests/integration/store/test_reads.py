"""Reads: one batch, lists and counts; another workspace's or dialect's batches do not show."""

from __future__ import annotations

from typing import Any

from broker.batches import Record, Status, new_id
from broker.store.batches import find_batch, find_head, list_batches
from broker.store.database import Database
from broker.store.rows import dump_records
from broker.store.tallies import BatchFilter, count_open
from broker.store.workspaces import NewWorkspace, insert_workspaces
from tests.integration.store.rows import accept, claim, execute


def only(workspace: str, dialect: str = "ximilar", **more: Any) -> BatchFilter:
    return BatchFilter((workspace,), dialects=(dialect,), **more)


async def listed(database: Database, which: BatchFilter, offset: int = 0, limit: int = 100) -> list[str]:
    """The ids of a list, after a check that the count agrees with it."""
    async with database.reading() as connection:
        all_, heads = await list_batches(connection, which, 0, 1000)
        count, page = await list_batches(connection, which, offset, limit)
    assert (all_, page) == (len(heads), heads[offset : offset + limit])
    assert count == (all_ if page else 0)
    return [head.id for head in page]


async def test_a_batch_is_found_as_it_was_accepted(database: Database, workspace_id: str) -> None:
    records = (
        Record(id="a", url="https://example.com/ä.jpg", id_given=True, fields={"sku": "ß\U0001f600", "n": [1, None]}),
        Record(id="b", blob="in/w/b/1"),
    )
    (id,) = await accept(
        database,
        workspace_id,
        params='{"x": [1.5, "\u00fc"]}',
        records=dump_records(records),
        size=2,
        extra='{"modified": true}',
        webhook=b"\x00\xff",
        external_id="17",
        base_url="https://host:81",
    )
    async with database.reading() as connection:
        batch = await find_batch(connection, id)
        head = await find_head(connection, id)
    assert batch is not None
    assert (batch.records, batch.params) == (records, {"x": [1.5, "\u00fc"]})
    assert (batch.webhook, batch.extra, batch.external_id) == (b"\x00\xff", '{"modified": true}', "17")
    assert (batch.base_url, batch.dialect, batch.workspace) == ("https://host:81", "ximilar", workspace_id)
    assert (batch.status, batch.outcome, batch.run, batch.lease_seq) == (Status.CREATED, None, 1, 0)
    assert batch.created == batch.modified
    assert head is not None
    assert (head.id, head.workspace, head.dialect, head.status) == (id, workspace_id, "ximilar", Status.CREATED)
    assert (head.type, head.created) == (batch.type, batch.created)


async def test_an_unknown_id_is_not_found(database: Database, workspace_id: str) -> None:
    await accept(database, workspace_id)
    async with database.reading() as connection:
        assert await find_batch(connection, new_id()) is None
        assert await find_head(connection, new_id()) is None


async def test_a_list_is_newest_first_and_paged(database: Database, workspace_id: str) -> None:
    ids = await accept(database, workspace_id, 25)
    newest_first = ids[::-1]
    which = only(workspace_id)
    assert await listed(database, which) == newest_first
    assert await listed(database, which, 0, 10) == newest_first[:10]
    assert await listed(database, which, 10, 10) == newest_first[10:20]
    assert await listed(database, which, 20, 10) == newest_first[20:]
    assert await listed(database, which, 30, 10) == []


async def test_a_list_is_filtered_by_type_and_status(database: Database, workspace_id: str) -> None:
    waiting = await accept(database, workspace_id, 3)
    flows = await accept(database, workspace_id, 2, type="flow")
    running = [claimed.id for claimed in await claim(database, 2)]

    async def ids(type: str | None = None, *statuses: Status) -> set[str]:
        return set(
            await listed(database, only(workspace_id, types=(type,) if type else None, statuses=statuses or None))
        )

    assert await ids() == {*waiting, *flows}
    assert await ids("flow") == set(flows)
    assert await ids("unknown") == set()
    assert await ids(None, Status.PROCESSING) == set(running)
    assert await ids("upscaler", Status.CREATED) == set(waiting) - set(running)
    assert await ids(None, Status.CREATED, Status.PROCESSING) == {*waiting, *flows}
    assert await ids(None, Status.DONE) == set()
    assert await listed(database, only(workspace_id, statuses=())) == []


async def test_other_workspaces_and_dialects_do_not_show(database: Database, workspace_id: str) -> None:
    other = NewWorkspace(id=new_id(), name="other", secrets=b"")
    await database.writer.write(insert_workspaces, other)
    mine = await accept(database, workspace_id, 2)
    claid = await accept(database, workspace_id, 2, dialect="claid")
    theirs = await accept(database, other.id, 2)
    assert set(await listed(database, only(workspace_id))) == set(mine)
    assert set(await listed(database, only(workspace_id, "claid"))) == set(claid)
    assert set(await listed(database, only(other.id))) == set(theirs)
    assert await listed(database, only(other.id, "claid")) == []
    assert await listed(database, only(new_id())) == []


async def test_children_do_not_show(database: Database, workspace_id: str) -> None:
    parent, child = await accept(database, workspace_id, 2)
    await execute(
        database, "UPDATE batches SET parent_id = :parent, ordinal = 0 WHERE id = :child", parent=parent, child=child
    )
    assert await listed(database, only(workspace_id)) == [parent]


async def test_open_batches_are_counted(database: Database, workspace_id: str) -> None:
    other = NewWorkspace(id=new_id(), name="other", secrets=b"")
    await database.writer.write(insert_workspaces, other)
    await accept(database, other.id, 9)
    done = (await accept(database, workspace_id, 10))[:3]
    for id in done:
        await execute(database, "UPDATE batches SET status = 'DONE', outcome = 'failed' WHERE id = :id", id=id)
    await claim(database, 2)
    async with database.reading() as connection:
        assert await count_open(connection, workspace_id) == 7
