"""`broker deliveries`: see which webhooks arrived and which did not, and send them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from broker.cli.arguments import ITS_ID, AsJson, InWorkspaces, Page, PageSize, each, given, moment
from broker.cli.client import Client
from broker.cli.listen_screen import MAX_LINK, plain
from broker.cli.processes import run
from broker.cli.tables import console, fitting_table, new_table, print_json, print_page, second, with_workspace
from broker.errors import Invalid

COLUMNS = ("id", "batch", "event", "url", "state", "attempts", "next try", "created")
SPARE = ("event", "created", "attempts", "batch", "next try", "workspace")

deliveries = typer.Typer(help="Webhooks: whether they arrived, send them again.", no_args_is_help=True)
Since = Annotated[str | None, typer.Option(metavar="T", help="Owed since then; 2h, 3d or ISO 8601 with a zone.")]
Until = Annotated[str | None, typer.Option(metavar="T", help="Owed until then.")]
ToEndpoint = Annotated[str | None, typer.Option(help="Id of the endpoint that they go to.")]


@deliveries.command("list")
def show_deliveries(
    state: Annotated[
        list[str] | None, typer.Option(help="pending, delivered, exhausted, refused, superseded or stopped.")
    ] = None,
    batch: Annotated[str | None, typer.Option(help="A batch's id, or its dialect's own id of it.")] = None,
    endpoint: ToEndpoint = None,
    event: Annotated[list[str] | None, typer.Option(help="What they tell.")] = None,
    since: Since = None,
    until: Until = None,
    workspace: InWorkspaces = None,
    page: Page = 1,
    page_size: PageSize = 20,
    as_json: AsJson = False,
) -> None:
    """List deliveries, newest first. `--state`, `--event` and `--workspace` may be repeated."""
    filters = {"state": state, "batch": batch, "endpoint": endpoint, "event": event, "workspace": workspace}
    times = {"since": moment(since), "until": moment(until, "until")}
    run(_list({**given({**filters, **times}), "page": page, "page_size": page_size}, as_json))


@deliveries.command("show")
def show_delivery(
    id: Annotated[str, typer.Argument(help="The delivery's id, which receivers know as `webhook-id`.")],
    as_json: AsJson = False,
) -> None:
    """Show how a delivery stands, with all its tries."""
    run(_show(id, as_json))


@deliveries.command("replay")
def replay(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of deliveries; none with --what.")] = None,
    what: Annotated[
        str | None, typer.Option(help="All of --since that `failed`, or are `missing` as their endpoint was disabled.")
    ] = None,
    since: Since = None,
    until: Until = None,
    endpoint: ToEndpoint = None,
    workspace: Annotated[str | None, typer.Option(help=f"With --what: {ITS_ID}")] = None,
) -> None:
    """Send webhooks once more, with the same ids and bytes, whatever became of them."""
    times = {"since": moment(since), "until": moment(until, "until")}
    options = given({"endpoint": endpoint, **times, "workspace": workspace})
    if ids:
        if what or options:
            raise Invalid("ids of deliveries do not go together with other options")
        run(_replay(ids))
        return
    if not (what and since):
        raise Invalid("ids of deliveries are needed, or --what and --since for all that did not arrive")
    run(_replay_many({"what": what, **options}))


async def _list(filters: Mapping[str, Any], as_json: bool) -> None:
    async with Client.of_environment() as client:
        page = await client.deliveries(filters)
    if as_json:
        print_json(page)
    else:
        print_page(page, filters["page"], table_of)


async def _show(id: str, as_json: bool) -> None:
    async with Client.of_environment() as client:
        delivery = await client.delivery(id)
    if as_json:
        print_json(delivery)
        return
    screen = console()
    screen.print(table_of([delivery], screen))
    tries = new_table("try", "started", "ms", "result", "response", whole=("try", "started", "ms"))
    for one in delivery["tries"]:
        tries.add_row(*_try(one))
    screen.print(tries)


async def _replay(ids: Sequence[str]) -> None:
    async with Client.of_environment() as client:

        async def one(id: str) -> str:
            delivery = await client.replay(id)
            return f"{delivery['id']}  {_standing(delivery)}"

        await each(ids, one)


async def _replay_many(options: Mapping[str, Any]) -> None:
    """Exit status 1 when one was refused."""
    async with Client.of_environment() as client:
        done = await client.replay_many(options)
    typer.echo(f"{done['replayed']} replayed, {done['refused']} refused")
    for refusal in done["refusals"]:
        typer.echo(f"broker: {refusal['id']}: {refusal['reason']}", err=True)
    if done["refused"]:
        raise typer.Exit(1)


def table_of(found: Sequence[Mapping[str, Any]], screen: Console) -> Table:
    """The API's deliveries as lines; of the less needed columns, those for which the screen has room."""
    columns, rows = with_workspace(COLUMNS, found), [_row(one) for one in found]
    return fitting_table(screen, columns, rows, whole=("id", "state", "workspace"), spare=SPARE)


def _row(delivery: Mapping[str, Any]) -> dict[str, str]:
    return {
        **{name: plain(delivery[name], MAX_LINK) for name in ("id", "event", "url")},
        "workspace": delivery["workspace"],
        "batch": delivery["batch"] or "",
        "state": _standing(delivery),
        "attempts": str(delivery["attempts"]),
        "next try": second(delivery["next_try"]),
        "created": second(delivery["created"]),
    }


def _standing(delivery: Mapping[str, Any]) -> str:
    """`pending`, `pending, held back`, `exhausted, replay`."""
    more = {"held back": delivery["held"], "replay": delivery["manual"]}
    return ", ".join([delivery["state"], *(word for word, holds in more.items() if holds)])


def _try(one: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{one['number']}{' (replay)' if one['manual'] else ''}",
        second(one["started"]),
        "" if one["duration_ms"] is None else str(one["duration_ms"]),
        str(one["status_code"] or one["error"] or ""),
        plain(" ".join((one["response"] or "").split())),
    )
