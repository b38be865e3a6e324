"""`broker workspace`: tenants, straight on the database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from broker import logs
from broker.bootstrap import Core, open_core
from broker.cli.processes import run
from broker.cli.tables import console, day, new_table
from broker.pause import Pause
from broker.provision import Provision
from broker.query import Query
from broker.settings import load
from broker.store.workspaces import list_workspaces

workspaces = typer.Typer(help="Tenants.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the workspace.")]


@workspaces.command("create")
def create_workspace(name: Name) -> None:
    """Make a workspace; prints its id."""
    run(_create_workspace(name))


@workspaces.command("list")
def show_workspaces() -> None:
    """List the workspaces."""
    run(_show_workspaces())


@workspaces.command("pause")
def pause_workspace(name: Name) -> None:
    """Claim nothing of a workspace from now on; it still accepts, and what runs goes on to its end."""
    run(_hold_workspace(name, paused=True))


@workspaces.command("resume")
def resume_workspace(name: Name) -> None:
    """Let a paused workspace go on."""
    run(_hold_workspace(name, paused=False))


@asynccontextmanager
async def _core() -> AsyncIterator[tuple[Core, Provision]]:
    settings = load()
    logs.configure(settings.log_format, "warning")
    async with open_core(settings) as core:
        yield core, Provision(core.database, core.vault)


async def _create_workspace(name: str) -> None:
    async with _core() as (_, provision):
        typer.echo((await provision.workspace(name)).id)


async def _show_workspaces() -> None:
    async with _core() as (core, _), core.database.reading() as connection:
        table = new_table("name", "id", "created", "state")
        for row in await list_workspaces(connection):
            table.add_row(row.name, row.id, day(row.created), "paused" if row.paused else "open")
        console().print(table)


async def _hold_workspace(name: str, *, paused: bool) -> None:
    async with _core() as (core, provision):
        workspace = await provision.find(name)
        pause = Pause(Query(core.database, core.links), core.database, core.nudger)
        await (pause.pause_workspace if paused else pause.resume_workspace)(workspace.id)
    typer.echo("paused" if paused else "resumed")
