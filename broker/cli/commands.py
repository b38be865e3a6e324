"""All commands, and how their errors look."""

from __future__ import annotations

import sys

import typer

from broker.cli import admin, demo, follow, openapi, processes, submit, up
from broker.errors import BrokerError

app = typer.Typer(
    name="broker",
    help="A self-hosted broker for asynchronous image work.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(up.up)
app.command()(demo.demo)
app.command()(processes.web)
app.command()(processes.worker)
app.command()(processes.migrate)
app.command()(submit.submit)
app.command()(follow.watch)
app.command()(openapi.openapi)
app.add_typer(admin.workspaces, name="workspace")
app.add_typer(admin.tokens, name="token")
app.add_typer(admin.webhook_secrets, name="webhook-secret")


def main() -> None:
    """Run a command. An error that a person can mend is one line and exit status 1, never a traceback."""
    try:
        app()
    except BrokerError as error:
        print(f"broker: {error.message}", file=sys.stderr)  # noqa: T201 - the command's own voice
        sys.exit(1)
