"""A database of the test's own, for what only one kind needs; SQLite's with its file and a workspace in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.store.database import SQLITE_FILE, Database, open_database
from tests.integration.store.rows import new_workspace


@pytest.fixture
async def file(sqlite_url: str, tmp_path: Path) -> Path:
    return tmp_path / SQLITE_FILE


@pytest.fixture
async def sqlite(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    database = open_database(sqlite_url, tmp_path)
    yield database
    await database.aclose()


@pytest.fixture
async def postgresql(postgresql_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    database = open_database(postgresql_url, tmp_path)
    yield database
    await database.aclose()


@pytest.fixture
async def workspace(sqlite: Database) -> str:
    return await new_workspace(sqlite)
