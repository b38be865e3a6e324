"""Brokers, image servers and webhook receivers that run in the test's own event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import structlog

from broker.queue.embedded import EmbeddedValkey
from tests.integration.net.servers import Answer, Web, reply
from tests.integration.receiver import Receiver
from tests.integration.running import (
    Broker,
    StartBroker,
    StartWorker,
    Worker,
    photograph,
    run_broker,
    run_worker,
    settings_for,
)

HOSTILE = Path(__file__).parents[1] / "hostile"


@pytest.fixture
def plain_logs() -> Iterator[None]:
    """One line of JSON an event. structlog's own choice shows every local variable, which takes seconds."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    )
    yield
    structlog.reset_defaults()


@pytest.fixture
async def start_broker(plain_logs: None, database_url: str, tmp_path: Path) -> AsyncIterator[StartBroker]:
    """`await start_broker(MAX_QUEUED=3)`: the web parts on a fresh database, with other settings where they matter."""
    async with AsyncExitStack() as stack:

        async def start(**overrides: object) -> Broker:
            return await stack.enter_async_context(run_broker(settings_for(tmp_path, database_url, **overrides)))

        yield start


@pytest.fixture
async def start_worker(plain_logs: None, database_url: str, tmp_path: Path) -> AsyncIterator[StartWorker]:
    """`await start_worker("upscaler", lease_seconds=1)`: the worker parts on the same database; no type = all."""
    async with AsyncExitStack() as stack:

        async def start(*types: str, **overrides: object) -> Worker:
            settings = settings_for(tmp_path, database_url, **overrides)
            return await stack.enter_async_context(run_worker(settings, types))

        yield start


@pytest.fixture
async def broker(start_broker: StartBroker) -> Broker:
    """The web parts alone: what is accepted stays CREATED."""
    return await start_broker()


@pytest.fixture
async def worker(start_worker: StartWorker) -> Worker:
    """A worker for every installed type."""
    return await start_worker()


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that brings the types of `tests/hostile`, which is on `sys.path` from now on."""
    monkeypatch.syspath_prepend(str(HOSTILE))
    return HOSTILE


@pytest.fixture
async def images() -> AsyncIterator[Web]:
    """An image server that has /coffee.jpg (600 x 400), /chelsea.jpg (451 x 300) and /face.webp (240 x 180)."""
    names = {"/coffee.jpg": "coffee.jpg", "/chelsea.jpg": "chelsea.jpg", "/face.webp": "chelsea-face.webp"}
    answers: dict[str, list[Answer]] = {target: [reply(200, photograph(name))] for target, name in names.items()}
    async with Web(answers=answers).listen("127.0.0.1") as web:
        yield web


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().listen() as receiver:
        yield receiver


@pytest.fixture
def valkey_url(tmp_path: Path) -> Iterator[str]:
    """The URL of a Valkey of the test's own."""
    server = EmbeddedValkey(tmp_path / "redis")
    yield server.start()
    server.stop()
