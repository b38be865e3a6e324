"""`broker watch`: batches as they go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from broker.cli.client import Client
from broker.cli.processes import run
from broker.cli.tables import console, new_table

LOOK_SECONDS = 0.5
NEWEST = 20


def watch(
    ids: Annotated[list[str] | None, typer.Argument(help="Batches to follow until they are DONE.")] = None,
) -> None:
    """Follow batches until they are DONE; without ids, show the newest ones until Ctrl-C."""
    run(_watch_these(ids) if ids else _watch_newest())


async def _watch_these(ids: list[str]) -> None:
    async with Client.of_environment() as client:
        with _live() as live:
            while True:
                batches = list(await asyncio.gather(*(client.details(id) for id in ids)))
                live.update(_table(batches))
                if all(batch["status"] == "DONE" for batch in batches):
                    return
                await asyncio.sleep(LOOK_SECONDS)


async def _watch_newest() -> None:
    async with Client.of_environment() as client:
        with _live() as live:
            while True:
                live.update(_table(await client.newest(NEWEST)))
                await asyncio.sleep(LOOK_SECONDS)


@contextmanager
def _live() -> Iterator[Live]:
    """What is shown anew in a terminal. Elsewhere it is shown once, at the end, which then ends its line as well."""
    screen = console()
    live = Live(console=screen, refresh_per_second=4)
    try:
        with live:
            yield live
    finally:
        if live.get_renderable() and not screen.is_terminal:
            screen.line()


def _table(batches: list[dict[str, Any]]) -> Table:
    """Details of batches; items of the list, which say nothing of records, in a column less."""
    detailed = all("request" in batch for batch in batches)
    table = new_table("id", "type", "status", "created", *(["records"] if detailed else []))
    for batch in batches:
        cells = [batch["id"], batch["type"], batch["status"], batch["created"]]
        table.add_row(*cells, *([_records(batch)] if detailed else []))
    return table


def _records(batch: dict[str, Any]) -> str:
    """`3 ok, 1 failed` of a DONE batch, else how many there are."""
    if "response" in batch:
        codes = [record["_status"]["code"] for record in batch["response"]["records"]]
        failed = sum(code >= 400 for code in codes)
        return f"{len(codes) - failed} ok" + (f", {failed} failed" if failed else "")
    return str(len(batch["request"]["records"]))
