"""Tables for people: ids are never cut, because they are there to be copied."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

WIDE = 200


def new_table(*columns: str) -> Table:
    """A table whose id columns keep their width and whose other columns fold."""
    table = Table()
    for column in columns:
        table.add_column(column, no_wrap=column == "id", overflow="fold")
    return table


def console() -> Console:
    """Standard output, wide enough for whole lines when it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else WIDE)


def day(milliseconds: int) -> str:
    """A time of ours to the minute, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M")
