"""`broker openapi`: the API's description, for code generators."""

from __future__ import annotations

import json

import typer

from broker.api.openapi import document
from handlers.registry import Registry


def openapi() -> None:
    """Print the OpenAPI 3.1 document of this installation, with the types that are installed."""
    typer.echo(json.dumps(document(Registry.installed()), indent=2))
