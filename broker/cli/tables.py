"""What the API answers, as JSON or as tables for people: ids are never cut, because they are there to be copied."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

WIDE = 200

TableOf: TypeAlias = Callable[[Sequence[Mapping[str, Any]], Console], Table]
"""(what the API lists, the screen) -> a table that fits it."""


def print_json(answer: Mapping[str, Any]) -> None:
    typer.echo(json.dumps(answer, ensure_ascii=False))


def print_page(page: Mapping[str, Any], number: int, table_of: TableOf) -> None:
    """Page `number` of a list, and how to see more where there is more."""
    screen = console()
    screen.print(table_of(page["results"], screen))
    if page["next"]:
        typer.echo(f"{len(page['results'])} of {page['count']}; --page {number + 1} shows more")


def new_table(*columns: str, whole: Collection[str] = ("id",)) -> Table:
    """A table whose `whole` columns keep their width and whose other columns fold."""
    table = Table()
    for column in columns:
        table.add_column(column, no_wrap=column in whole, overflow="fold")
    return table


def fitting_table(
    screen: Console,
    columns: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    *,
    whole: Collection[str],
    spare: Sequence[str],
) -> Table:
    """A table of `columns`, fit for the screen: where there is no room, `spare` ones are left out, in their order."""
    table = new_table(*columns, whole=whole)
    for row in rows:
        table.add_row(*(row[column] for column in columns))
    if not spare or Measurement.get(screen, screen.options.update_width(WIDE), table).maximum <= screen.width:
        return table
    fewer = [column for column in columns if column != spare[0]]
    return fitting_table(screen, fewer, rows, whole=whole, spare=spare[1:])


def with_workspace(columns: Sequence[str], found: Collection[Mapping[str, Any]]) -> Sequence[str]:
    """These columns, and `workspace` where what the API has found belongs to several."""
    return (*columns, "workspace") if len({one["workspace"] for one in found}) > 1 else columns


def console() -> Console:
    """Standard output, wide enough for whole lines when it is no terminal. What customers sent is no markup of ours."""
    return Console(width=None if sys.stdout.isatty() else WIDE, markup=False, emoji=False)


def day(milliseconds: int) -> str:
    """A time of ours to the minute, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def second(time: str | None) -> str:
    """A time of the API to the second, in UTC; empty for none."""
    return "" if time is None else time[:19].replace("T", " ")
