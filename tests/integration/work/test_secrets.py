"""Customers' secrets at rest, and the key that they are encrypted with."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.bootstrap.core import open_core
from broker.bootstrap.web import open_web
from broker.bootstrap.work import open_work
from broker.errors import Misconfigured
from broker.secrets import KEY_FILE
from broker.settings import Settings
from broker.store.tables import METADATA, AttemptRow, table
from tests.databases import migrate_fresh
from tests.integration.net.servers import reply
from tests.integration.receiver import Receiver
from tests.integration.running import KEY, Broker, Worker, in_base64, photograph, settings_for, until

OTHER_KEY = "another-key-of-these-tests-32-characters"
SOURCE = {"_base64": in_base64(photograph("chelsea-face.webp"))}


async def everything_in_sql(broker: Broker) -> bytes:
    """Every value of every table, and on SQLite the bytes of its files too."""
    found = [repr(await broker.store.rows(select(each))).encode() for each in METADATA.sorted_tables]
    for each in METADATA.sorted_tables:
        for row in await broker.store.rows(select(each)):
            found += [bytes(value) for value in row if isinstance(value, bytes | memoryview)]
    found += [path.read_bytes() for path in broker.core.settings.data_dir.glob("broker.sqlite3*")]
    return b"\n".join(found)


async def test_webhooks_and_signing_secrets_are_unreadable_in_the_database(
    broker: Broker, worker: Worker, receiver: Receiver
) -> None:
    async def echo(writer: asyncio.StreamWriter) -> None:
        writer.write(reply(500, repr(receiver.posts[-1]).encode()))

    receiver.answers = [echo, reply(200)]
    hook = {"endpoint": receiver.url("/hush-path?key=hush-query"), "headers": {"X-Key": "hush-header"}}
    accepted = await broker.post({"type": "upscaler", "records": [{**SOURCE, "note": "to see"}], "webhook": hook})
    await broker.done(accepted["id"])
    await receiver.posted(2)

    async def recorded() -> bool:
        return len(await broker.store.rows(select(table(AttemptRow)))) == 2

    await until(recorded)
    stored = await everything_in_sql(broker)
    assert b"to see" in stored
    secret = broker.tenant.secret
    hidden = ["hush-path", "hush-query", "hush-header", "X-Key", broker.tenant.token, secret, secret[6:], KEY]
    assert [text for text in hidden if text.encode() in stored] == []


@pytest.mark.parametrize("open_parts", [open_core, open_web, open_work])
async def test_wrong_key_is_refused_at_the_start(
    broker: Broker, open_parts: type[object], tmp_path: Path, database_url: str
) -> None:
    settings = settings_for(tmp_path, database_url, secret_key=OTHER_KEY)
    with pytest.raises(Misconfigured, match="BROKER_SECRET_KEY is not the key"):
        await _open(open_parts, settings)
    await _open(open_parts, settings_for(tmp_path, database_url, secret_key=f"{OTHER_KEY}, {KEY}"))


async def _open(open_parts: object, settings: Settings) -> None:
    assert callable(open_parts)
    async with open_parts(settings):
        pass


async def test_own_database_without_a_key_is_refused(tmp_path: Path, database_url: str) -> None:
    settings = settings_for(tmp_path, database_url, secret_key="")
    with pytest.raises(Misconfigured, match="BROKER_SECRET_KEY must be set"):
        await _open(open_core, settings)
    assert not (tmp_path / KEY_FILE).exists()


async def test_short_key_is_refused(tmp_path: Path, database_url: str) -> None:
    with pytest.raises(Misconfigured, match="at least 32 characters"):
        await _open(open_core, settings_for(tmp_path, database_url, secret_key="short"))


async def test_embedded_database_makes_its_own_key_and_keeps_it(tmp_path: Path) -> None:
    migrate_fresh("", tmp_path)
    settings = settings_for(tmp_path, "", secret_key="")
    await _open(open_core, settings)
    key = (tmp_path / KEY_FILE).read_text()
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    await _open(open_core, settings)
    assert (tmp_path / KEY_FILE).read_text() == key
    (tmp_path / KEY_FILE).write_text("x" * 64)
    with pytest.raises(Misconfigured, match="not the key"):
        await _open(open_core, settings)


async def test_database_of_another_schema_is_refused(tmp_path: Path, empty_database_url: str) -> None:
    with pytest.raises(Misconfigured, match="migrate"):
        await _open(open_core, settings_for(tmp_path, empty_database_url))
