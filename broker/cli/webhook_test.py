"""`broker webhook-test`: have the broker send one signed webhook at once, and tell how it was taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from broker.cli.arguments import ITS_ID, given
from broker.cli.client import Client
from broker.cli.processes import run
from broker.errors import Invalid

VERDICTS = {
    "done": "delivered",
    "later": "not delivered; a real webhook would be tried again",
    "never": "not delivered; a real webhook would be given up",
}


def test_webhook(
    url: Annotated[str, typer.Argument(help="Where to send it.")],
    header: Annotated[
        list[str] | None, typer.Option(metavar="'NAME: VALUE'", help="A header of your own; may be repeated.")
    ] = None,
    workspace: Annotated[str | None, typer.Option(help=f"Whose secret signs: {ITS_ID}")] = None,
) -> None:
    """Send a signed test webhook to a URL, with the same checks as real ones. Exit status 1 unless it is delivered."""
    headers = _headers(header or [])
    run(_test(given({"url": url, "headers": headers or None, "workspace": workspace})))


async def _test(body: Mapping[str, Any]) -> None:
    async with Client.of_environment() as client:
        result = await client.test_webhook(body)
    came = result["error"] or f"answered {result['status_code']}"
    typer.echo(f"{VERDICTS[result['verdict']]}: {came} after {result['duration_ms']} ms")
    if result["verdict"] != "done":
        raise typer.Exit(1)


def _headers(texts: Sequence[str]) -> dict[str, str]:
    """Raises Invalid, which does not repeat a value: it may be a secret."""
    headers: dict[str, str] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon:
            raise Invalid("--header: 'Name: value' is needed")
        if name.lower() in map(str.lower, headers):
            raise Invalid(f"--header {name}: this header is given twice")
        headers[name] = value.strip()
    return headers
