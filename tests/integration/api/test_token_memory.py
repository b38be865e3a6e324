"""How long a web process goes on with what it knows of a token. On SQLite alone: the database has no part in it."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from broker.store.tables import TokenRow, table
from broker.store.workspaces import revoke_tokens
from tests.integration.running import ROOT, Broker, until


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


async def test_token_revoked_in_use_is_refused_within_seconds(broker: Broker) -> None:
    assert (await broker.http.get(ROOT)).status_code == 200
    row = await broker.store.row(select(table(TokenRow).c.id))
    assert await broker.core.database.writer.write(revoke_tokens, row.id)

    async def refused() -> bool:
        return (await broker.http.get(ROOT)).status_code == 401

    await until(refused)
