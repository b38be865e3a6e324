"""`broker workspace`, `token`, `webhook-secret`: the operator's commands, straight on the database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from broker import logs
from broker.cli.processes import run
from broker.cli.tables import console, day, new_table
from broker.errors import Invalid, NotFound
from broker.foundation import open_foundation
from broker.provision import SCOPES, Provision
from broker.settings import load
from broker.store.database import Database
from broker.store.workspaces import Hold, hold_workspaces, list_tokens, list_workspaces, revoke_tokens
from broker.webhooks.signing import Kind, verifier_of

workspaces = typer.Typer(help="Tenants.", no_args_is_help=True)
tokens = typer.Typer(help="API tokens.", no_args_is_help=True)
webhook_secrets = typer.Typer(help="The secret that signs a workspace's webhooks.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the workspace.")]
NameOrId = Annotated[str, typer.Argument(help="Name or id of the workspace.")]
InWorkspace = Annotated[str, typer.Option("--workspace", help="Name or id of the workspace.")]


@workspaces.command("create")
def create_workspace(name: Name) -> None:
    """Make a workspace; prints its id."""
    run(_create_workspace(name))


@workspaces.command("list")
def show_workspaces() -> None:
    """List the workspaces."""
    run(_show_workspaces())


@workspaces.command("pause")
def pause_workspace(name: NameOrId) -> None:
    """Claim nothing of a workspace from now on; it still accepts, and what runs goes on to its end."""
    run(_hold_workspace(name, paused=True))


@workspaces.command("resume")
def resume_workspace(name: NameOrId) -> None:
    """Let a paused workspace go on."""
    run(_hold_workspace(name, paused=False))


@tokens.command("create")
def create_token(
    workspace: InWorkspace = "default",
    name: Annotated[str, typer.Option(help="What the token is for.")] = "",
    scope: Annotated[str, typer.Option(help="Comma-separated rights: submit, read, storage, admin.")] = "submit,read",
    grant: Annotated[list[str] | None, typer.Option(help="Name or id of a further workspace that it may use.")] = None,
) -> None:
    """Make a token; prints it, for the only time."""
    scopes = [part.strip() for part in scope.split(",") if part.strip()]
    if unknown := set(scopes) - set(SCOPES):
        raise Invalid(f"unknown scope {', '.join(sorted(unknown))}; there are {', '.join(SCOPES)}")
    run(_create_token(workspace, name, scopes, grant or []))


@tokens.command("list")
def show_tokens(workspace: InWorkspace = "default") -> None:
    """List the tokens of a workspace, without their secrets."""
    run(_show_tokens(workspace))


@tokens.command("revoke")
def revoke_token(id: Annotated[str, typer.Argument(help="The token's id, from `token list`.")]) -> None:
    """Make a token worthless, within five seconds everywhere."""
    run(_revoke_token(id))


@webhook_secrets.command("show")
def show_webhook_secret(workspace: InWorkspace = "default") -> None:
    """Print what receivers verify signatures with, each with its kind and until when it signs."""
    run(_show_webhook_secrets(workspace))


@webhook_secrets.command("rotate")
def rotate_webhook_secret(
    workspace: InWorkspace = "default",
    ed25519: Annotated[bool, typer.Option("--ed25519", help="A key pair; prints its public key.")] = False,
) -> None:
    """Sign with a new secret; prints it. The old one signs along for 24 hours."""
    run(_rotate_webhook_secret(workspace, Kind.ED25519 if ed25519 else Kind.SYMMETRIC))


@asynccontextmanager
async def _opened() -> AsyncIterator[tuple[Database, Provision]]:
    settings = load()
    logs.configure(settings.log_format, "warning")
    async with open_foundation(settings) as opened:
        yield opened.database, Provision(opened.database, opened.vault)


async def _create_workspace(name: str) -> None:
    async with _opened() as (_, provision):
        typer.echo((await provision.workspace(name)).id)


async def _show_workspaces() -> None:
    async with _opened() as (database, _), database.reading() as connection:
        table = new_table("name", "id", "created", "state")
        for row in await list_workspaces(connection):
            table.add_row(row.name, row.id, day(row.created), "paused" if row.paused else "open")
        console().print(table)


async def _hold_workspace(name: str, *, paused: bool) -> None:
    async with _opened() as (database, provision):
        workspace = await provision.find(name)
        await database.writer.write(hold_workspaces, Hold(workspace.id, paused))
    typer.echo("paused" if paused else "resumed")


async def _create_token(workspace: str, name: str, scopes: list[str], grants: list[str]) -> None:
    async with _opened() as (_, provision):
        typer.echo(await provision.token(workspace, name, scopes, grants))


async def _show_tokens(workspace: str) -> None:
    async with _opened() as (database, provision):
        found = await provision.find(workspace)
        async with database.reading() as connection:
            rows = await list_tokens(connection, found.id)
        table = new_table("id", "name", "ends in", "scopes", "created", "revoked")
        for row in rows:
            revoked = day(row.revoked) if row.revoked else ""
            table.add_row(row.id, row.name, row.hint, ",".join(sorted(row.scopes)), day(row.created), revoked)
        console().print(table)


async def _revoke_token(id: str) -> None:
    async with _opened() as (database, _):
        if not await database.writer.write(revoke_tokens, id):
            raise NotFound("there is no such token, or it is revoked already")
    typer.echo("revoked")


async def _show_webhook_secrets(workspace: str) -> None:
    async with _opened() as (_, provision):
        found = await provision.find(workspace)
        for one in await provision.rotate.secrets(found.id):
            until = "signs" if one.until is None else f"signs along until {day(one.until)} UTC"
            typer.echo(f"{verifier_of(one.secret)}  {one.kind}  {until}")


async def _rotate_webhook_secret(workspace: str, kind: Kind) -> None:
    async with _opened() as (_, provision):
        found = await provision.find(workspace)
        newest, *_ = await provision.rotate(found.id, kind)
    typer.echo(verifier_of(newest.secret))
