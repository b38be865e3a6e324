"""Fixtures of the acceptance tests: commands to run, and a broker that many tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.queue.embedded import EmbeddedValkey
from tests.acceptance.broker import Up, start_up
from tests.acceptance.processes import Commands, opened
from tests.acceptance.receiver import Receiver, receiving

PLUGINS = Path(__file__).with_name("plugins")


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    """`broker` commands in the test's own folder, stopped at its end."""
    with opened(tmp_path) as commands:
        yield commands


@pytest.fixture
def sleepy_commands(commands: Commands) -> Commands:
    """The same, with the type `sleepy` installed."""
    return commands.with_packages(PLUGINS)


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One `broker up` for many tests, which may reach servers on 127.0.0.1. No test stops it."""
    with opened(tmp_path_factory.mktemp("up")) as commands:
        yield start_up(commands, "--allow-network", "127.0.0.0/8")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A customer's server on 127.0.0.1."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A Valkey of the test's own."""
    valkey = EmbeddedValkey(tmp_path / "redis")
    yield valkey.start()
    valkey.stop()
