"""The migrated schema equals the models, down to partial indexes and checks; every step can be undone and redone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from broker.store.database import Database, open_database
from broker.store.migrate import downgrade, migrate
from broker.store.tables import METADATA

Schema: TypeAlias = frozenset[tuple[str, ...]]

SQLITE = ["SELECT tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"]
POSTGRESQL = [
    "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE connamespace = 'public'::regnamespace",
    "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
    "WHERE table_schema = 'public'",
]


@pytest.fixture
async def empty(empty_database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    database = open_database(empty_database_url, tmp_path)
    yield database
    await database.aclose()


def read_schema(connection: Connection, times: Sequence[int]) -> list[Schema]:
    """All that the database itself knows of its tables, indexes and constraints, in its own words."""
    queries = POSTGRESQL if connection.dialect.name == "postgresql" else SQLITE
    found = {
        part
        for query in queries
        for table, *definition in connection.execute(text(query))
        if table != "alembic_version"
        for part in _parts(table, [str(value) for value in definition])
    }
    return [frozenset(found)] * len(times)


def _parts(table: str, definition: list[str]) -> list[tuple[str, ...]]:
    """SQLite tells a table as its CREATE statement, a line a column or constraint, whose order means nothing."""
    return [(table, line.strip().rstrip(",")) for line in " ".join(definition).split("\n") if line.strip(" )\t")]


def create_from_models(connection: Connection, times: Sequence[int]) -> list[None]:
    METADATA.create_all(connection)
    return [None] * len(times)


def drop_models(connection: Connection, times: Sequence[int]) -> list[None]:
    METADATA.drop_all(connection)
    return [None] * len(times)


def differences(connection: Connection, times: Sequence[int]) -> list[list[Any]]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return [list(compare_metadata(context, METADATA))] * len(times)


async def test_autogenerate_finds_nothing_to_do(database: Database) -> None:
    assert await database.writer.write(differences, 1) == []


async def test_the_migrated_schema_equals_the_models(empty: Database) -> None:
    await empty.writer.write(create_from_models, 1)
    modelled = await empty.writer.write(read_schema, 1)
    await empty.writer.write(drop_models, 1)
    await migrate(empty)
    migrated = await empty.writer.write(read_schema, 1)
    assert modelled ^ migrated == frozenset()
    assert len({table for table, *_ in migrated}) == len(METADATA.tables)


@pytest.mark.parametrize(
    "change",
    [
        ("DROP INDEX ix_batches_claim", "CREATE INDEX ix_batches_claim ON batches (type, rank, id)"),
        ("DROP INDEX uq_batches_external",),
        ("ALTER TABLE batches ADD COLUMN extra_column TEXT CONSTRAINT ck_more CHECK (extra_column <> '')",),
    ],
    ids=["no_longer_partial", "index_gone", "new_check"],
)
async def test_this_check_sees_what_autogenerate_overlooks(database: Database, change: tuple[str, ...]) -> None:
    def apply(connection: Connection, changes: Sequence[tuple[str, ...]]) -> list[None]:
        for statement in (statement for change in changes for statement in change):
            connection.execute(text(statement))
        return [None] * len(changes)

    before = await database.writer.write(read_schema, 1)
    await database.writer.write(apply, change)
    assert await database.writer.write(read_schema, 1) != before


async def test_every_step_can_be_undone_and_done_again(empty: Database) -> None:
    await migrate(empty)
    first = await empty.writer.write(read_schema, 1)
    await empty.writer.write(downgrade, "base")
    assert await empty.writer.write(read_schema, 1) == frozenset()
    await migrate(empty)
    assert await empty.writer.write(read_schema, 1) == first
