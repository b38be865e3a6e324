"""All commands, and how their errors look."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from broker.cli.deferred import Deferred
from broker.errors import BrokerError

COMMANDS = (
    Deferred(
        "up", "broker.cli.up:up", "Start everything on this machine: database, Valkey, API and workers.", service=True
    ),
    Deferred("demo", "broker.cli.demo:demo", "Start everything in a temporary folder, send photographs through it."),
    Deferred("web", "broker.cli.web:web", "Serve the API.", service=True),
    Deferred("worker", "broker.cli.worker:worker", "Run batches and send webhooks.", service=True),
    Deferred("migrate", "broker.cli.migrate:migrate", "Bring the database to this version's schema."),
    Deferred("submit", "broker.cli.submit:submit", "Submit pictures."),
    Deferred("watch", "broker.cli.follow:watch", "Follow batches until they are DONE."),
    Deferred("listen", "broker.cli.listen:listen_to_webhooks", "Receive webhooks, show and verify them."),
    Deferred("batches", "broker.cli.batches:batches", "Batches: how they stand, cancel, retry, pause."),
    Deferred("endpoints", "broker.cli.endpoints:endpoints", "Where webhooks go: how healthy that is, enable it again."),
    Deferred("webhook-test", "broker.cli.webhook_test:test_webhook", "Send a signed test webhook to a URL."),
    Deferred("deliveries", "broker.cli.deliveries:deliveries", "Webhooks: whether they arrived, send them again."),
    Deferred("openapi", "broker.cli.openapi:openapi", "Print the OpenAPI 3.1 document of this installation."),
    Deferred("workspace", "broker.cli.admin:workspaces", "Tenants."),
    Deferred("token", "broker.cli.admin:tokens", "API tokens."),
    Deferred("webhook-secret", "broker.cli.admin:webhook_secrets", "The secret that signs a workspace's webhooks."),
)


class Commands(TyperGroup):
    """The commands above, in their order."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for command in COMMANDS:
            self.add_command(command)


app = typer.Typer(
    name="broker", cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


@app.callback()
def broker() -> None:
    """A self-hosted broker for asynchronous image work."""


def main() -> None:
    """Run a command. An error that a person can mend is one line and exit status 1, never a traceback."""
    try:
        app()
    except BrokerError as error:
        typer.echo(f"broker: {error.message}", err=True)
        sys.exit(1)
