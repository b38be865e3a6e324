"""`broker batches`: see how batches stand, cancel them, run them again, hold them back, delete them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from broker.cli.arguments import ITS_ID, AsJson, InWorkspaces, Page, PageSize, each, given, moment
from broker.cli.client import Client
from broker.cli.processes import run
from broker.cli.tables import console, fitting_table, new_table, print_json, print_page, second, with_workspace
from broker.errors import Invalid

COLUMNS = ("id", "dialect", "type", "endpoint", "status", "run", "records", "created")
SPARE = ("dialect", "endpoint", "run", "created", "workspace")

batches = typer.Typer(help="Batches: how they stand, cancel, retry, pause.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="The batch's id, or its dialect's own id of it.")]
Ids = Annotated[list[str], typer.Argument(help="Ids of batches, or their dialects' own ids of them.")]


@batches.command("list")
def show_batches(
    status: Annotated[list[str] | None, typer.Option(help="CREATED, PROCESSING, PAUSED or DONE.")] = None,
    type: Annotated[list[str] | None, typer.Option(help="What was to be done.")] = None,
    dialect: Annotated[list[str] | None, typer.Option(help="The wire format that it came in.")] = None,
    outcome: Annotated[list[str] | None, typer.Option(help="succeeded, partial, failed or cancelled.")] = None,
    workspace: InWorkspaces = None,
    page: Page = 1,
    page_size: PageSize = 20,
    as_json: AsJson = False,
) -> None:
    """List batches, newest first. A filter may be repeated."""
    filters = {"status": status, "type": type, "dialect": dialect, "outcome": outcome, "workspace": workspace}
    run(_list({**given(filters), "page": page, "page_size": page_size}, as_json))


@batches.command("show")
def show_batch(id: Id, as_json: AsJson = False) -> None:
    """Show how a batch stands, with its finished records."""
    run(_show(id, as_json))


@batches.command("cancel")
def cancel(ids: Ids) -> None:
    """Cancel batches: what is finished stays, the rest is not begun, the webhook is sent."""
    run(_act(ids, "cancel"))


@batches.command("retry")
def retry(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of batches; none with --outcome.")] = None,
    all: Annotated[bool, typer.Option("--all", help="Also the records that succeeded.")] = False,
    outcome: Annotated[list[str] | None, typer.Option(help="All batches that ended so; may be repeated.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="T", help="With --outcome: done since then; 2h, 3d or ISO 8601 with a zone.")
    ] = None,
    workspace: Annotated[str | None, typer.Option(help=f"With --outcome: {ITS_ID}")] = None,
) -> None:
    """Run DONE batches again: their failed records, or all."""
    if not ids and not outcome:
        raise Invalid("ids of batches are needed, or --outcome for all that ended so")
    if not ids:
        options = {"outcome": outcome, "since": moment(since), "workspace": workspace}
        run(_retry_many({**given(options), "all": all}))
        return
    if outcome or since or workspace:
        raise Invalid("ids of batches and --outcome, --since or --workspace do not go together")
    run(_act(ids, "retry", all=all))


@batches.command("pause")
def pause(ids: Ids) -> None:
    """Keep waiting batches from being begun."""
    run(_act(ids, "pause"))


@batches.command("resume")
def resume(ids: Ids) -> None:
    """Let paused batches go on."""
    run(_act(ids, "resume"))


@batches.command("delete")
def delete(ids: Ids, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete DONE batches with their results and pictures."""
    if not yes:
        typer.confirm(f"Delete {len(ids)} batch{'es' * (len(ids) > 1)} with results and pictures?", abort=True)
    run(_delete(ids))


async def _list(filters: Mapping[str, Any], as_json: bool) -> None:
    async with Client.of_environment() as client:
        page = await client.batches(filters)
    if as_json:
        print_json(page)
    else:
        print_page(page, filters["page"], table_of)


async def _show(id: str, as_json: bool) -> None:
    async with Client.of_environment() as client:
        batch = await client.batch(id)
    if as_json:
        print_json(batch)
        return
    screen = console()
    screen.print(table_of([batch], screen))
    records = new_table("record", "id", "result")
    for record in batch["records"]:
        records.add_row(str(record["index"]), record["id"], f"{record['code']} {record['text']}")
    screen.print(records)


async def _act(ids: Sequence[str], verb: str, **options: Any) -> None:
    async with Client.of_environment() as client:

        async def one(id: str) -> str:
            batch = await client.act(id, verb, options)
            return f"{batch['id']}  {_standing(batch)}"

        await each(ids, one)


async def _delete(ids: Sequence[str]) -> None:
    async with Client.of_environment() as client:

        async def one(id: str) -> str:
            await client.delete(id)
            return f"{id}  deleted"

        await each(ids, one)


async def _retry_many(options: Mapping[str, Any]) -> None:
    async with Client.of_environment() as client:
        done = await client.retry_many(options)
    typer.echo(f"{done['retried']} retried, {done['refused']} refused")


def table_of(found: Sequence[Mapping[str, Any]], screen: Console) -> Table:
    """The API's batches as lines; of the less needed columns, those for which the screen has room."""
    columns, rows = with_workspace(COLUMNS, found), [_row(batch) for batch in found]
    return fitting_table(screen, columns, rows, whole=("id", "status", "workspace"), spare=SPARE)


def _row(batch: Mapping[str, Any]) -> dict[str, str]:
    counts = batch["counts"]
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    return {
        **{name: batch[name] for name in ("id", "workspace", "dialect", "type", "endpoint")},
        "status": _standing(batch),
        "run": str(batch["run"]),
        "records": f"{counts['finished']} of {counts['records']}{failed}",
        "created": second(batch["created"]),
    }


def _standing(batch: Mapping[str, Any]) -> str:
    """`PROCESSING`, `DONE succeeded`."""
    return f"{batch['status']} {batch['outcome'] or ''}".rstrip()
