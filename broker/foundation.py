"""What every process stands on: the database, known to be ours, and the vault of its secrets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from broker.errors import Misconfigured, Unavailable
from broker.secrets import Vault, key_of_folder
from broker.settings import Settings
from broker.store.database import Database, open_database
from broker.store.schema import check_migrated
from broker.store.workspaces import remember_facts

KEY_CHECK = "key_check"


@dataclass(frozen=True, slots=True)
class Foundation:
    """All that the operator's commands need."""

    database: Database
    vault: Vault


@asynccontextmanager
async def open_foundation(settings: Settings) -> AsyncIterator[Foundation]:
    """Open the database. Raises Misconfigured unless it can be reached, has this version's schema and fits the key."""
    vault = open_vault(settings)
    database = open_database(settings.database_url, settings.data_dir)
    try:
        with needing_database():
            await check_migrated(database)
            await check_key(database, vault)
        yield Foundation(database, vault)
    finally:
        await database.aclose()


@contextmanager
def needing_database() -> Iterator[None]:
    """Raises Misconfigured where the database cannot be reached: a process does not start without it."""
    try:
        yield
    except Unavailable as error:
        raise Misconfigured("the database cannot be reached; see BROKER_DATABASE_URL") from error


def open_vault(settings: Settings) -> Vault:
    """The vault of the set keys, or of the data folder's own key when the database is the embedded one."""
    if settings.keys:
        return Vault(settings.keys)
    if not settings.embedded_database:
        raise Misconfigured("BROKER_SECRET_KEY must be set when BROKER_DATABASE_URL is (e.g. openssl rand -hex 32)")
    return Vault([key_of_folder(settings.data_dir)])


async def check_key(database: Database, vault: Vault) -> None:
    """Raises Misconfigured when the database's secrets were written with a key that is not given."""
    standing = await database.writer.write(remember_facts, (KEY_CHECK, vault.check_value()))
    if not vault.knows(standing):
        raise Misconfigured("BROKER_SECRET_KEY is not the key that this database's secrets were written with")
