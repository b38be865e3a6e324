"""`broker demo`: real photographs through a real broker, from an empty folder to a verified webhook."""

import typer


def demo() -> None:
    """Show it."""
    typer.echo("x")
