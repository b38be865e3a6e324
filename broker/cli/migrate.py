"""`broker migrate`: the database's schema."""

from __future__ import annotations

import typer

from broker.cli.processes import begin, run
from broker.foundation import check_key, needing_database, open_vault
from broker.settings import Settings
from broker.store.database import open_database
from broker.store.migrate import migrate as migrate_database


def migrate() -> None:
    """Bring the database to this version's schema. Safe to run again, and from several machines at once."""
    settings = begin()
    run(migrate_and_check(settings))
    typer.echo("The database has this version's schema.")


async def migrate_and_check(settings: Settings) -> None:
    """Migrate, and make sure that the key fits before anything relies on it.

    Raises Misconfigured when the database cannot be reached for some seconds.
    """
    vault = open_vault(settings)
    database = open_database(settings.database_url, settings.data_dir)
    try:
        with needing_database():
            await migrate_database(database)
            await check_key(database, vault)
    finally:
        await database.aclose()
