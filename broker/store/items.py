"""Queries about items: the entries of a workspace's collections, e.g. of a catalogue, with their changes in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Connection, Insert, Text, bindparam, func, or_, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.store.tables import CollectionRow, ItemRow, table

_collections, _items = table(CollectionRow), table(ItemRow)


@dataclass(frozen=True, slots=True, order=True)
class Collection:
    """A named set of items of one workspace. kind: what its type calls such a set. id: which of them."""

    workspace: str
    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Item:
    """fields: JSON, stored as it is: who puts an item has had the kind's model accept it. None removes the item.
    blob: the key of its picture; not one of a batch (`in/…`, `out/…`), which goes when the batch does.
    """

    id: str
    fields: str | None
    blob: str | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """Items to add to a collection, to change or to remove, in one commit."""

    collection: Collection
    items: tuple[Item, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the order of a collection's changes; the first one is before all."""

    revision: int = 0
    id: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What an item is since its last change. fields: None where it was removed."""

    mark: Mark
    fields: str | None


def put_items(connection: Connection, puts: Sequence[Put]) -> list[int]:
    """Store items; returns for each put how many differ from what was there. The collection is made at need.

    Its row stays locked to the commit, so that revisions become visible in their order: who has read up to one will
    find everything later beyond it.
    """
    changed: dict[int, int] = {}
    for place, put in sorted(enumerate(puts), key=lambda pair: pair[1].collection):  # one order: no deadlock
        changed[place] = _put(connection, put)
    return [changed[place] for place in range(len(puts))]


def _put(connection: Connection, put: Put) -> int:
    dialect = connection.dialect.name
    whose = {"workspace_id": put.collection.workspace, "kind": put.collection.kind}
    revision = connection.scalar(_raise_revision(dialect), {**whose, "id": put.collection.id, "revision": 1})
    whose |= {"collection": put.collection.id, "revision": revision}
    if put.items:
        rows = [{**whose, "id": item.id, "fields": item.fields, "blob": item.blob} for item in put.items]
        connection.execute(_upsert(dialect), rows)
    return int(connection.scalar(_CHANGED, whose) or 0)


@lru_cache
def _raise_revision(dialect: str) -> Any:
    flavour = postgresql if dialect == "postgresql" else sqlite
    return (
        flavour.insert(_collections)
        .on_conflict_do_update(
            index_elements=list(_collections.primary_key), set_={"revision": _collections.c.revision + 1}
        )
        .returning(_collections.c.revision)
    )


@lru_cache
def _upsert(dialect: str) -> Insert:
    """An item that is the same already keeps its revision."""
    flavour = postgresql if dialect == "postgresql" else sqlite
    statement = flavour.insert(_items)
    new = statement.excluded
    upsert: Insert = statement.on_conflict_do_update(
        index_elements=list(_items.primary_key),
        set_={"fields": new.fields, "blob": new.blob, "revision": new.revision},
        where=or_(_items.c.fields.is_distinct_from(new.fields), _items.c.blob.is_distinct_from(new.blob)),
    )
    return upsert


async def changes_after(connection: AsyncConnection, collection: Collection, mark: Mark, limit: int) -> list[Change]:
    """The first `limit` changes of a collection after `mark`; none of one that does not exist."""
    values = {
        "workspace_id": collection.workspace,
        "kind": collection.kind,
        "collection": collection.id,
        "revision": mark.revision,
        "id": mark.id,
        "limit": limit,
    }
    rows = await connection.execute(_CHANGES, values)
    return [Change(Mark(row.revision, row.id), row.fields) for row in rows]


async def stand_still(connection: AsyncConnection) -> None:
    """From its next read on, a connection that has read nothing sees the state of one moment, until it is closed."""
    if connection.dialect.name == "postgresql":
        await connection.execution_options(isolation_level="REPEATABLE READ")
    else:
        await connection.exec_driver_sql("BEGIN")


_whole = [_items.c[name] == bindparam(name) for name in ("workspace_id", "kind", "collection")]
_CHANGED = select(func.count()).select_from(_items).where(*_whole, _items.c.revision == bindparam("revision"))
_place = tuple_(bindparam("revision", type_=BigInteger), bindparam("id", type_=Text))
_CHANGES = (
    select(_items.c.revision, _items.c.id, _items.c.fields)
    .where(*_whole, tuple_(_items.c.revision, _items.c.id) > _place)
    .order_by(_items.c.revision, _items.c.id)
    .limit(bindparam("limit"))
)
