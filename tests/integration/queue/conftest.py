"""A real Valkey for each test, and workers and nudgers that end with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from arq import ArqRedis

from broker.queue.connection import connect, disconnect
from broker.queue.embedded import EmbeddedValkey
from broker.queue.nudge import Nudger
from broker.queue.worker import BatchWorker
from tests.integration.queue.ledger import NEVER, TYPE, Batch, Ledger, until


class StartWorker(Protocol):
    async def __call__(
        self, ledger: Ledger, url: str | None = ..., *, slots: int = ..., **options: Any
    ) -> BatchWorker[Batch]: ...


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def redis(valkey: EmbeddedValkey) -> AsyncIterator[ArqRedis]:
    client = connect(valkey.url)
    yield client
    await disconnect(client)


@pytest.fixture
async def nudger(valkey: EmbeddedValkey) -> AsyncIterator[Nudger]:
    nudger = Nudger(valkey.url)
    await nudger.start()
    yield nudger
    await nudger.aclose()


@pytest.fixture
async def start_worker(valkey: EmbeddedValkey) -> AsyncIterator[StartWorker]:
    """Starts a worker and returns it after its first look; stops it without grace at the end."""
    async with AsyncExitStack() as stack:

        async def start(
            ledger: Ledger, url: str | None = valkey.url, *, slots: int = 4, **options: Any
        ) -> BatchWorker[Batch]:
            defaults: dict[str, Any] = {
                "types": [TYPE],
                "idle_seconds": NEVER,
                "claim": ledger.claim,
                "run": ledger.run,
            }
            worker: BatchWorker[Batch] = BatchWorker(url, slots=slots, **(defaults | options))
            working = asyncio.create_task(worker.async_run())

            async def end() -> None:
                worker.stop_now()
                await working

            stack.push_async_callback(end)
            looks = ledger.claims
            if "claim" not in options:
                await until(lambda: ledger.claims > looks)
            return worker

        yield start
