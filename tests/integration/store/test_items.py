"""Items of collections: what is stored, what counts as a change, and in which order changes become visible."""

from __future__ import annotations

import asyncio
from pathlib import Path

from broker.store.database import Database, open_database
from broker.store.items import Change, Collection, Item, Mark, Put, changes_after, put_items, stand_still

PAGE = 100


async def put(database: Database, collection: Collection, *items: Item) -> int:
    return await database.writer.write(put_items, Put(collection, items))


async def changes(
    database: Database, collection: Collection, mark: Mark | None = None, limit: int = PAGE
) -> list[Change]:
    async with database.reading() as connection:
        return await changes_after(connection, collection, mark or Mark(), limit)


async def test_items_are_read_in_the_order_of_their_changes(database: Database, workspace_id: str) -> None:
    shop = Collection(workspace_id, "shop", "default")
    assert await put(database, shop, Item("b", "1"), Item("a", "2")) == 2
    assert await put(database, shop, Item("c", "3")) == 1
    found = await changes(database, shop)
    assert found == [Change(Mark(1, "a"), "2"), Change(Mark(1, "b"), "1"), Change(Mark(2, "c"), "3")]
    assert await changes(database, shop, Mark(1, "a"), limit=1) == [Change(Mark(1, "b"), "1")]
    assert await changes(database, shop, Mark(2, "c")) == []


async def test_an_item_that_is_the_same_already_does_not_change(database: Database, workspace_id: str) -> None:
    shop = Collection(workspace_id, "shop", "default")
    await put(database, shop, Item("a", "1", "blob/a"), Item("b", "1"))
    again = (Item("a", "1", "blob/a"), Item("b", "2"), Item("c", "1"))
    assert await put(database, shop, *again) == 2
    assert [change.mark.id for change in await changes(database, shop, Mark(1, "b"))] == ["b", "c"]
    assert await put(database, shop, *again) == 0
    assert await put(database, shop, Item("a", "1", "blob/other")) == 1


async def test_a_removed_item_is_a_change_that_says_so(database: Database, workspace_id: str) -> None:
    shop = Collection(workspace_id, "shop", "default")
    await put(database, shop, Item("a", "1"), Item("b", "1"))
    assert await put(database, shop, Item("a", None)) == 1
    assert await changes(database, shop, Mark(1, "b")) == [Change(Mark(2, "a"), None)]
    await put(database, shop, Item("a", "3"))
    assert await changes(database, shop, Mark(2, "a")) == [Change(Mark(3, "a"), "3")]


async def test_collections_of_another_name_kind_or_workspace_are_others(database: Database, workspace_id: str) -> None:
    shop = Collection(workspace_id, "shop", "default")
    others = [Collection(workspace_id, "shop", "second"), Collection(workspace_id, "stall", "default")]
    await put(database, shop, Item("a", "1"))
    for other in others:
        assert await changes(database, other) == []
        assert await put(database, other, Item("a", "other")) == 1
    assert await changes(database, shop) == [Change(Mark(1, "a"), "1")]
    elsewhere = Collection("00000000-0000-7000-8000-000000000000", "shop", "default")
    assert await changes(database, elsewhere) == []


async def test_writers_of_many_processes_share_collections_and_no_change_hides_from_a_reader(
    database: Database, database_url: str, workspace_id: str, tmp_path: Path
) -> None:
    """Each group writes to both collections, in either order; a reader that follows the changes misses none."""
    pair = [Collection(workspace_id, "shop", name) for name in ("a", "b")]
    others = [open_database(database_url, tmp_path) for _ in range(2)]
    rounds = 15

    async def write(writer: Database, name: str, collections: list[Collection]) -> None:
        for number in range(rounds):
            await asyncio.gather(*(put(writer, each, Item(f"{name}-{number}", "1")) for each in collections))

    async def follow(collection: Collection) -> set[str]:
        mark, seen = Mark(), set[str]()
        while len(seen) < 2 * rounds:
            for change in await changes(database, collection, mark):
                mark = change.mark
                seen.add(change.mark.id)
        return seen

    async with asyncio.timeout(60):
        _, _, *seen = await asyncio.gather(
            write(others[0], "one", pair), write(others[1], "two", pair[::-1]), *(follow(each) for each in pair)
        )
    for writer in others:
        await writer.aclose()
    assert seen == [{f"{name}-{number}" for name in ("one", "two") for number in range(rounds)}] * 2


async def test_a_reader_that_stands_still_comes_to_an_end_and_misses_nothing_while_all_items_change(
    database: Database, workspace_id: str
) -> None:
    """After each of its pages a commit moves all items beyond it: those of the next page are there all the same."""
    shop = Collection(workspace_id, "shop", "default")
    ids = [f"item-{number}" for number in range(5)]
    await put(database, shop, *(Item(id, "0") for id in ids))
    pages = list[list[Change]]()
    async with database.reading() as connection:
        await stand_still(connection)
        while page := await changes_after(connection, shop, pages[-1][-1].mark if pages else Mark(), limit=2):
            pages.append(page)
            assert await put(database, shop, *(Item(id, str(len(pages))) for id in ids)) == len(ids)
            assert len(pages) <= len(ids)
    assert [(change.mark.id, change.fields) for page in pages for change in page] == [(id, "0") for id in ids]
    assert {change.fields for change in await changes(database, shop)} == {"3"}
