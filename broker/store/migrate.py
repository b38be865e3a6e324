"""Bringing a database to the newest schema. The steps are in `migrations/`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from broker.errors import Unavailable
from broker.store.database import Database

TRIES = 12
"""Each waits about five seconds for its turn, as any write does; where there is no database, it fails at once."""
PAUSE = 1.0
"""Seconds between tries: a database that is just starting is waited for."""
LOCK = 7163840021
"""Any number will do, as long as nobody else in the database locks with it."""


def upgrade(connection: Connection, targets: Sequence[str]) -> list[None]:
    """Run the steps up to each target revision ("head" = all), inside the caller's transaction."""
    for target in targets:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        command.upgrade(_config(connection), target)
    return [None] * len(targets)


def downgrade(connection: Connection, targets: Sequence[str]) -> list[None]:
    """Undo the steps down to each target revision ("base" = all)."""
    for target in targets:
        command.downgrade(_config(connection), target)
    return [None] * len(targets)


async def migrate(database: Database) -> None:
    """Bring the database to the newest schema. Several processes may do so at once: they wait for each other.

    Raises Unavailable when that takes a minute, or when there is no database for some seconds.
    """
    for _ in range(TRIES - 1):
        with suppress(Unavailable):
            await database.writer.write(upgrade, "head")
            return
        await asyncio.sleep(PAUSE)
    await database.writer.write(upgrade, "head")


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
