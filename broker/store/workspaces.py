"""Queries about workspaces, their tokens and the installation's facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, Connection, Row, String, bindparam, cast, insert, or_, select, union, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.store.clock import db_now
from broker.store.tables import InstanceFact, TokenGrantRow, TokenRow, WorkspaceRow, table

_facts, _workspaces = table(InstanceFact), table(WorkspaceRow)
_tokens, _grants = table(TokenRow), table(TokenGrantRow)


@dataclass(frozen=True, slots=True)
class Workspace:
    """A tenant. `secrets` is the encrypted list of its webhook signing secrets; `created` in ms since 1970."""

    id: str
    name: str
    secrets: bytes
    paused: bool
    created: int


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret. `workspaces` are those it may use, its home first."""

    id: str
    name: str
    hint: str
    scopes: frozenset[str]
    workspaces: tuple[str, ...]
    created: int
    revoked: int | None


@dataclass(frozen=True, slots=True)
class NewWorkspace:
    id: str
    name: str
    secrets: bytes


@dataclass(frozen=True, slots=True)
class NewToken:
    """`hash` is the hex SHA-256 of the token; `grants` are workspaces besides the home."""

    id: str
    workspace: str
    name: str
    hash: str
    hint: str
    scopes: frozenset[str]
    grants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredSecrets:
    """The encrypted signing secrets of a workspace, and the time of looking in ms since 1970."""

    box: bytes
    now: int


@dataclass(frozen=True, slots=True)
class Replacement:
    """Store `box` as a workspace's signing secrets, provided that they are still `known`."""

    workspace: str
    known: bytes
    box: bytes


@dataclass(frozen=True, slots=True)
class Hold:
    """Claim nothing of a workspace while it is paused."""

    workspace: str
    paused: bool


def insert_workspaces(connection: Connection, rows: Sequence[NewWorkspace]) -> list[bool]:
    """Create workspaces; False for a name that exists already."""
    flavour = postgresql if connection.dialect.name == "postgresql" else sqlite
    created = []
    for row in rows:
        statement = (
            flavour.insert(_workspaces)
            .values(id=row.id, name=row.name, secrets=row.secrets, paused=False, created=db_now())
            .on_conflict_do_nothing()
            .returning(_workspaces.c.id)
        )
        created.append(connection.scalar(statement) is not None)
    return created


def hold_workspaces(connection: Connection, holds: Sequence[Hold]) -> list[bool]:
    """Pause workspaces or let them go on; False for one that there is not."""
    statement = (
        update(_workspaces)
        .where(_workspaces.c.id == bindparam("workspace"))
        .values(paused=bindparam("hold", type_=Boolean))
        .returning(_workspaces.c.id)
    )
    return [
        connection.scalar(statement, {"workspace": hold.workspace, "hold": hold.paused}) is not None for hold in holds
    ]


def replace_secrets(connection: Connection, replacements: Sequence[Replacement]) -> list[bool]:
    """Replace signing secrets; False for those that somebody else has replaced meanwhile."""
    statement = (
        update(_workspaces)
        .where(_workspaces.c.id == bindparam("workspace"), _workspaces.c.secrets == bindparam("known"))
        .values(secrets=bindparam("box"))
        .returning(_workspaces.c.id)
    )
    return [
        connection.scalar(statement, {"workspace": one.workspace, "known": one.known, "box": one.box}) is not None
        for one in replacements
    ]


def insert_tokens(connection: Connection, rows: Sequence[NewToken]) -> list[None]:
    for row in rows:
        connection.execute(
            insert(_tokens).values(
                id=row.id,
                workspace_id=row.workspace,
                name=row.name,
                hash=row.hash,
                hint=row.hint,
                scopes=" ".join(sorted(row.scopes)),
                created=db_now(),
            )
        )
        if row.grants:
            connection.execute(
                insert(_grants), [{"token_id": row.id, "workspace_id": workspace} for workspace in row.grants]
            )
    return [None] * len(rows)


def revoke_tokens(connection: Connection, ids: Sequence[str]) -> list[bool]:
    """Revoke tokens by id; False for one that is unknown or revoked already."""
    statement = (
        update(_tokens)
        .where(_tokens.c.id == bindparam("token"), _tokens.c.revoked.is_(None))
        .values(revoked=db_now())
        .returning(_tokens.c.id)
    )
    return [connection.scalar(statement, {"token": id}) is not None for id in ids]


def remember_facts(connection: Connection, facts: Sequence[tuple[str, str]]) -> list[str]:
    """Store each (name, value) unless the name has one; returns the value that stands."""
    flavour = postgresql if connection.dialect.name == "postgresql" else sqlite
    standing = []
    for name, value in facts:
        connection.execute(flavour.insert(_facts).values(name=name, value=value).on_conflict_do_nothing())
        standing.append(str(connection.scalar(select(_facts.c.value).where(_facts.c.name == name))))
    return standing


async def token_by_hash(connection: AsyncConnection, hash: str) -> Token | None:
    """The token with this hash, unless it is revoked."""
    row = (await connection.execute(select(_tokens).where(_tokens.c.hash == hash, _tokens.c.revoked.is_(None)))).first()
    if row is None:
        return None
    return _token(row, await _granted(connection, row.id))


async def list_tokens(connection: AsyncConnection, workspace: str) -> list[Token]:
    """Tokens whose home or grant is `workspace`, oldest first."""
    ids = union(
        select(_tokens.c.id).where(_tokens.c.workspace_id == workspace),
        select(_grants.c.token_id).where(_grants.c.workspace_id == workspace),
    )
    rows = (await connection.execute(select(_tokens).where(_tokens.c.id.in_(ids)).order_by(_tokens.c.id))).all()
    return [_token(row, await _granted(connection, row.id)) for row in rows]


async def list_workspaces(connection: AsyncConnection) -> list[Workspace]:
    rows = await connection.execute(select(_workspaces).order_by(_workspaces.c.id))
    return [_workspace(row) for row in rows]


async def workspace_called(connection: AsyncConnection, word: str) -> Workspace | None:
    """The one of this name, else of this id; PostgreSQL refuses to compare an id with what cannot be one."""
    called = or_(_workspaces.c.name == word, cast(_workspaces.c.id, String) == word)
    statement = select(_workspaces).where(called).order_by(_workspaces.c.name != word)
    row = (await connection.execute(statement)).first()
    return _workspace(row) if row else None


async def secrets_of(connection: AsyncConnection, workspace: str) -> StoredSecrets | None:
    statement = select(_workspaces.c.secrets, db_now().label("now")).where(_workspaces.c.id == workspace)
    row = (await connection.execute(statement)).first()
    return StoredSecrets(row.secrets, row.now) if row else None


async def _granted(connection: AsyncConnection, token: str) -> list[str]:
    statement = select(_grants.c.workspace_id).where(_grants.c.token_id == token).order_by(_grants.c.workspace_id)
    return list(await connection.scalars(statement))


def _token(row: Row[Any], granted: Sequence[str]) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        hint=row.hint,
        scopes=frozenset(row.scopes.split()),
        workspaces=(row.workspace_id, *granted),
        created=row.created,
        revoked=row.revoked,
    )


def _workspace(row: Row[Any]) -> Workspace:
    return Workspace(row.id, row.name, row.secrets, row.paused, row.created)
