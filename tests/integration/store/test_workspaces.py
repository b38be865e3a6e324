"""Workspaces, tokens and the installation's facts."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.exc import IntegrityError

from broker.batches import new_id
from broker.secrets import new_token, token_hash
from broker.store.database import Database
from broker.store.workspaces import (
    NewToken,
    NewWorkspace,
    Replacement,
    Token,
    insert_tokens,
    insert_workspaces,
    list_tokens,
    list_workspaces,
    remember_facts,
    replace_secrets,
    revoke_tokens,
    secrets_of,
    token_by_hash,
    workspace_called,
)


async def workspace(database: Database, name: str) -> str:
    new = NewWorkspace(id=new_id(), name=name, secrets=name.encode())
    assert await database.writer.write(insert_workspaces, new)
    return new.id


async def token(database: Database, home: str, *granted: str) -> tuple[str, str]:
    """(id, hash) of a new token."""
    secret = new_token()
    new = NewToken(
        id=new_id(),
        workspace=home,
        name="ci",
        hash=token_hash(secret),
        hint=secret[-4:],
        scopes=frozenset({"submit", "read"}),
        grants=granted,
    )
    await database.writer.write(insert_tokens, new)
    return new.id, new.hash


async def look_up(database: Database, hash: str) -> Token | None:
    async with database.reading() as connection:
        return await token_by_hash(connection, hash)


async def test_a_workspace_is_called_by_its_name_before_anothers_id(database: Database) -> None:
    first = await workspace(database, "first")
    async with database.reading() as connection:
        by_id = await workspace_called(connection, first)
        assert by_id is not None
        assert by_id.name == "first"
    named_so = await workspace(database, first)
    async with database.reading() as connection:
        by_name = await workspace_called(connection, first)
        assert by_name is not None
        assert by_name.id == named_so


async def test_workspaces_are_found_by_name_and_listed(database: Database) -> None:
    ids = [await workspace(database, name) for name in ("one", "two")]
    async with database.reading() as connection:
        one = await workspace_called(connection, "one")
        assert one is not None
        assert (one.id, one.name, one.secrets, one.paused) == (ids[0], "one", b"one", False)
        assert await workspace_called(connection, "three") is None
        assert [found.id for found in await list_workspaces(connection)] == ids
        stored = await secrets_of(connection, ids[1])
        assert stored is not None
        assert (stored.box, stored.now >= one.created) == (b"two", True)
        assert await secrets_of(connection, new_id()) is None


async def test_a_workspace_name_is_taken_once_even_at_the_same_time(database: Database) -> None:
    rows = [NewWorkspace(id=new_id(), name="default", secrets=b"") for _ in range(5)]
    made = await asyncio.gather(*[database.writer.write(insert_workspaces, row) for row in rows])
    assert sorted(made) == [False] * 4 + [True]
    async with database.reading() as connection:
        assert [one.id for one in await list_workspaces(connection)] == [rows[made.index(True)].id]


async def test_secrets_are_replaced_only_by_who_knows_them(database: Database) -> None:
    ours, theirs = [await workspace(database, name) for name in ("ours", "theirs")]
    both = [Replacement(ours, b"ours", new) for new in (b"first", b"second")]
    assert sorted(await asyncio.gather(*[database.writer.write(replace_secrets, one) for one in both])) == [False, True]
    assert not await database.writer.write(replace_secrets, Replacement(new_id(), b"", b"new"))
    async with database.reading() as connection:
        boxes = {one.id: one.secrets for one in await list_workspaces(connection)}
    assert boxes[ours] in (b"first", b"second")
    assert boxes[theirs] == b"theirs"


async def test_a_token_is_found_by_its_hash_until_it_is_revoked(database: Database, workspace_id: str) -> None:
    granted = [await workspace(database, name) for name in ("a", "b")]
    id, hash = await token(database, workspace_id, *granted)
    found = await look_up(database, hash)
    assert found is not None
    assert (found.id, found.name, found.scopes) == (id, "ci", frozenset({"submit", "read"}))
    assert found.workspaces == (workspace_id, *granted)
    assert await look_up(database, token_hash(new_token())) is None
    assert await database.writer.write(revoke_tokens, id) is True
    assert await look_up(database, hash) is None
    assert await database.writer.write(revoke_tokens, id) is False
    assert await database.writer.write(revoke_tokens, new_id()) is False


async def test_tokens_are_listed_where_they_may_be_used_with_all_their_workspaces(
    database: Database, workspace_id: str
) -> None:
    other = await workspace(database, "other")
    home, _ = await token(database, workspace_id)
    guest, _ = await token(database, other, workspace_id)
    stranger, _ = await token(database, other)
    await database.writer.write(revoke_tokens, home)
    async with database.reading() as connection:
        tokens = await list_tokens(connection, workspace_id)
        assert [one.id for one in tokens] == [home, guest]
        assert [one.workspaces for one in tokens] == [(workspace_id,), (other, workspace_id)]
        assert [one.revoked is None for one in tokens] == [False, True]
        assert [one.id for one in await list_tokens(connection, other)] == [guest, stranger]


async def test_a_token_of_an_unknown_workspace_is_refused(database: Database, workspace_id: str) -> None:
    with pytest.raises(IntegrityError):
        await token(database, workspace_id, new_id())
    async with database.reading() as connection:
        assert await list_tokens(connection, workspace_id) == []


async def test_the_first_value_of_a_fact_stands(database: Database) -> None:
    facts = [("key", "first"), ("key", "second"), ("other", "third")]
    told = await asyncio.gather(*[database.writer.write(remember_facts, fact) for fact in facts])
    assert told == ["first", "first", "third"]
    assert await database.writer.write(remember_facts, ("key", "later")) == "first"
