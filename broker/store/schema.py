"""The schema that this code was written for, and whether a database has it; told without Alembic."""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

from broker.errors import Misconfigured
from broker.store.database import Database

REVISION = "0003"
"""The newest step in `migrations/`."""


async def check_migrated(database: Database) -> None:
    """Raises Misconfigured unless the schema is the one that this code was written for."""
    async with database.reading() as connection:
        current = await connection.run_sync(_revision)
    if current != REVISION:
        raise Misconfigured("the database's schema is not this version's; run: broker migrate")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision
