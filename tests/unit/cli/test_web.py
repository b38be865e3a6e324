"""The server of `broker web` rests between two of its seconds."""

from __future__ import annotations

import asyncio

import uvicorn
from starlette.applications import Starlette

from broker.cli.web import Server

TURNS = 10
"""Of the event loop. A second, after which it would look by itself, has many thousands."""


async def test_a_server_that_rests_stops_once_it_is_told_to() -> None:
    config = uvicorn.Config(Starlette(), log_config=None)
    config.load()
    server = Server(config)
    serving = asyncio.create_task(server.main_loop())
    await _turns()
    assert not serving.done()
    server.stop()
    await _turns()
    assert serving.done()


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)
