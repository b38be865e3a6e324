"""Queries about small pictures that were sent along: stored with their batch, read with its claim."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Delete, Dialect, Select, delete, insert, select

from broker.store.columns import Id
from broker.store.driver import insert_rows, rows_text
from broker.store.given import given
from broker.store.tables import PictureRow, table

PICTURES = table(PictureRow)
PICTURE_COLUMNS = ["batch_id", "position", "data"]


def picture_rows(pictures: Mapping[str, Mapping[int, bytes]]) -> list[tuple[str, int, bytes]]:
    """Those of new batches, by batch and place, as rows of `PICTURE_COLUMNS`."""
    return [(batch, place, data) for batch, mine in pictures.items() for place, data in mine.items()]


def insert_pictures(connection: Connection, rows: Sequence[tuple[str, int, bytes]]) -> None:
    """Store pictures of batches that are stored."""
    if rows:
        insert_rows(connection, _insert_text(connection.dialect), rows)


def pictures_by_batch(connection: Connection, ids: Sequence[str]) -> defaultdict[str, dict[int, bytes]]:
    """The pictures that are kept of these batches, by their places."""
    found: defaultdict[str, dict[int, bytes]] = defaultdict(dict)
    if ids:
        for row in connection.execute(_of_batches(connection.dialect.name), _given(ids)):
            found[row.batch_id][row.position] = row.data
    return found


def remove_pictures(connection: Connection, ids: Sequence[str]) -> None:
    """Remove the pictures of batches whose rows the caller has locked."""
    if ids:
        connection.execute(_removal(connection.dialect.name), _given(ids))


def _given(ids: Sequence[str]) -> dict[str, str]:
    return {"given": json.dumps([[id] for id in ids])}


@lru_cache
def _insert_text(dialect: Dialect) -> str:
    return rows_text(insert(PICTURES), dialect, PICTURE_COLUMNS)


@lru_cache
def _of_batches(dialect: str) -> Select[Any]:
    mine = given(dialect, id=Id)
    return select(PICTURES.c.batch_id, PICTURES.c.position, PICTURES.c.data).join(
        mine, mine.c.id == PICTURES.c.batch_id
    )


@lru_cache
def _removal(dialect: str) -> Delete:
    return delete(PICTURES).where(PICTURES.c.batch_id.in_(select(given(dialect, id=Id).c.id)))
