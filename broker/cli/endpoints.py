"""`broker endpoints`: see how healthy the receivers of webhooks are, and enable them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from broker.cli.arguments import AsJson, InWorkspaces, Page, PageSize, each, given
from broker.cli.client import Client
from broker.cli.processes import run
from broker.cli.tables import fitting_table, print_json, print_page, second, with_workspace

COLUMNS = ("id", "state", "since", "failures", "breaker", "pending", "url", "reason")
WAITED = timedelta(hours=1)
SPARE = ("breaker", "failures", "since", "pending", "reason", "workspace")

endpoints = typer.Typer(help="Where webhooks go: how healthy that is, enable it again.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="The endpoint's id.")]
Ids = Annotated[list[str], typer.Argument(help="Ids of endpoints.")]


@endpoints.command("list")
def show_endpoints(
    state: Annotated[list[str] | None, typer.Option(help="healthy, failing or disabled.")] = None,
    workspace: InWorkspaces = None,
    page: Page = 1,
    page_size: PageSize = 20,
    as_json: AsJson = False,
) -> None:
    """List endpoints, newest first. A filter may be repeated."""
    run(_list({**given({"state": state, "workspace": workspace}), "page": page, "page_size": page_size}, as_json))


@endpoints.command("show")
def show_endpoint(id: Id, as_json: AsJson = False) -> None:
    """Show how healthy an endpoint is."""
    run(_show(id, as_json))


@endpoints.command("enable")
def enable(ids: Ids) -> None:
    """Send webhooks to endpoints again: their failures are forgotten."""
    run(_enable(ids))


async def _list(filters: Mapping[str, Any], as_json: bool) -> None:
    async with Client.of_environment() as client:
        page = await client.endpoints(filters)
    if as_json:
        print_json(page)
    else:
        print_page(page, filters["page"], table_of)


async def _show(id: str, as_json: bool) -> None:
    async with Client.of_environment() as client:
        endpoint = await client.endpoint(id)
    if as_json:
        print_json(endpoint)
        return
    for name, value in endpoint.items():
        if value is not None:
            typer.echo(f"{name.replace('_', ' '):14} {value}")


async def _enable(ids: Sequence[str]) -> None:
    async with Client.of_environment() as client:

        async def one(id: str) -> str:
            before = await client.endpoint(id)
            endpoint = await client.enable(id)
            enabled = f"{endpoint['id']}  {endpoint['state']}"
            return enabled if before["state"] != "disabled" else f"{enabled}\n{_hint(before)}"

        await each(ids, one)


def _hint(disabled: Mapping[str, Any]) -> str:
    """What waited for its first try when the endpoint was disabled, at most so long, was stopped too."""
    since = datetime.fromisoformat(disabled["failing_since"] or disabled["since"]) - WAITED
    which = f"--since {since:%Y-%m-%dT%H:%MZ} --endpoint {disabled['id']} --workspace {disabled['workspace']}"
    return (
        f"What it was owed was stopped; to send what was never tried: broker deliveries replay --what missing {which}\n"
        f"to send what was tried in vain: broker deliveries replay --what failed {which}"
    )


def table_of(found: Sequence[Mapping[str, Any]], screen: Console) -> Table:
    """The API's endpoints as lines; of the less needed columns, those for which the screen has room."""
    columns, rows = with_workspace(COLUMNS, found), [_row(endpoint) for endpoint in found]
    return fitting_table(screen, columns, rows, whole=("id", "state", "workspace"), spare=SPARE)


def _row(endpoint: Mapping[str, Any]) -> dict[str, str]:
    return {
        **{name: endpoint[name] for name in ("id", "workspace", "state", "breaker", "url")},
        "since": second(endpoint["since"]),
        "failures": str(endpoint["failures"]),
        "pending": str(endpoint["pending"]),
        "reason": endpoint["reason"] or "",
    }
