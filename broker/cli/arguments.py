"""What the commands over the API have in common: their options, times, and one act on each of many ids."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from broker.api.moments import milliseconds_of, number_or_text
from broker.cli.client import Refused
from broker.errors import Invalid

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
OR_AGO = "Or how long ago it was: 30s, 15m, 2h, 3d, 1w."
AsJson = Annotated[bool, typer.Option("--json", help="Print the API's JSON.")]
ITS_ID = "id of a workspace, as `broker workspace list` prints it; default: the token's."
InWorkspaces = Annotated[list[str] | None, typer.Option("--workspace", help=ITS_ID.capitalize())]
Page = Annotated[int, typer.Option(min=1, help="Which page.")]
PageSize = Annotated[int, typer.Option(min=1, help="How many on a page, at most 200.")]


async def each(ids: Sequence[str], do: Callable[[str], Awaitable[str]]) -> None:
    """Do it to every one, whatever becomes of the others. Exit status 1 when one was refused."""
    refused = 0
    for id in ids:
        try:
            typer.echo(await do(id))
        except Refused as error:
            refused += 1
            typer.echo(f"broker: {error.message}", err=True)
    if refused:
        raise typer.Exit(1)


def moment(text: str | None, option: str = "since") -> int | str | None:
    """`2h` ago in ISO 8601; a number goes to the broker as one, another time as it is. Raises Invalid for no time."""
    if text is None:
        return None
    ago = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if ago is not None:
        return datetime.fromtimestamp(max(0, time.time() - int(ago[1]) * SECONDS[ago[2]]), UTC).isoformat()
    value = number_or_text(text)
    try:
        milliseconds_of(value)
    except ValueError as error:
        raise Invalid(f"{option}: {error} {OR_AGO}") from error
    return value


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in options.items() if value is not None}
