"""Queries about documents: what a workspace stores for a type, versioned; a version never changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.batches import Pin
from broker.store.clock import db_now
from broker.store.tables import DocumentRow, WorkspaceRow, table

_documents, _workspaces = table(DocumentRow), table(WorkspaceRow)


@dataclass(frozen=True, slots=True)
class NewDocument:
    """The next version of a document. `body` is JSON that its kind's model has accepted."""

    workspace: str
    kind: str
    id: str
    body: str


def insert_documents(connection: Connection, rows: Sequence[NewDocument]) -> list[int]:
    """Store each document as its next version, from 1; returns the versions.

    The workspace's row is locked meanwhile, so that two writers get two versions.
    """
    versions = []
    for row in rows:
        connection.execute(select(_workspaces.c.id).where(_workspaces.c.id == row.workspace).with_for_update())
        newest = connection.scalar(
            select(func.max(_documents.c.version)).where(
                _documents.c.workspace_id == row.workspace,
                _documents.c.kind == row.kind,
                _documents.c.id == row.id,
            )
        )
        versions.append((newest or 0) + 1)
        connection.execute(
            insert(_documents).values(
                workspace_id=row.workspace,
                kind=row.kind,
                id=row.id,
                version=versions[-1],
                body=row.body,
                created=db_now(),
            )
        )
    return versions


async def find_version(
    connection: AsyncConnection, workspace: str, kind: str, id: str, version: int | None
) -> int | None:
    """The version asked for, or the newest when it is None; None when there is no such document."""
    conditions = [_documents.c.workspace_id == workspace, _documents.c.kind == kind, _documents.c.id == id]
    if version is not None:
        conditions.append(_documents.c.version == version)
    found: int | None = await connection.scalar(select(func.max(_documents.c.version)).where(*conditions))
    return found


async def document_body(connection: AsyncConnection, workspace: str, pin: Pin) -> str | None:
    """The JSON of a pinned document; None when it is gone."""
    found: str | None = await connection.scalar(
        select(_documents.c.body).where(
            _documents.c.workspace_id == workspace,
            _documents.c.kind == pin.kind,
            _documents.c.id == pin.id,
            _documents.c.version == pin.version,
        )
    )
    return found
