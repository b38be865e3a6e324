"""`broker token`, `webhook-secret`: what a workspace's customers hold, straight on the database."""

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
from broker.store.workspaces import list_tokens, revoke_tokens

tokens = typer.Typer(help="API tokens.", no_args_is_help=True)
webhook_secrets = typer.Typer(help="The secret that signs a workspace's webhooks.", no_args_is_help=True)
InWorkspace = Annotated[str, typer.Option("--workspace", help="Name of the workspace.")]


@tokens.command("create")
def create_token(
    workspace: InWorkspace = "default",
    name: Annotated[str, typer.Option(help="What the token is for.")] = "",
    scope: Annotated[str, typer.Option(help="Comma-separated rights: submit, read, storage, admin.")] = "submit,read",
    grant: Annotated[list[str] | None, typer.Option(help="A further workspace that it may use.")] = None,
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
    """Print the secret that receivers verify signatures with."""
    run(_show_webhook_secret(workspace))


@asynccontextmanager
async def _opened() -> AsyncIterator[tuple[Database, Provision]]:
    settings = load()
    logs.configure(settings.log_format, "warning")
    async with open_foundation(settings) as opened:
        yield opened.database, Provision(opened.database, opened.vault)


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


async def _show_webhook_secret(workspace: str) -> None:
    async with _opened() as (_, provision):
        for secret in await provision.webhook_secrets(workspace):
            typer.echo(secret)
