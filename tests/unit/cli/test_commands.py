"""The list of commands: told without importing any of them, and true."""

from __future__ import annotations

import subprocess
import sys

import pytest

from broker.cli.commands import COMMANDS
from broker.cli.deferred import Deferred

LIST = """
import sys
from broker.cli.commands import app
app(["--help"], standalone_mode=False)
print("IMPORTED", *sys.modules)
"""
HEAVY = {"sqlalchemy", "alembic", "httpx", "redis", "starlette", "uvicorn", "obstore", "pyvips", "numpy"}


def test_listing_the_commands_imports_none_of_them() -> None:
    done = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, check=True)
    listed, _, imported = done.stdout.partition("IMPORTED")
    assert all(str(command.name) in listed for command in COMMANDS)
    assert set(imported.split()) & {*HEAVY, *(command.place.partition(":")[0] for command in COMMANDS)} == set()


@pytest.mark.parametrize("command", COMMANDS, ids=[str(command.name) for command in COMMANDS])
def test_what_the_list_says_of_a_command_is_how_its_own_help_begins(command: Deferred) -> None:
    assert command.short_help
    assert (command.load().help or "").startswith(command.short_help.rstrip("."))
