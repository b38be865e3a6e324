"""arq with a poll of 5 ms and no kept results: `python -m bench.rivals.arq_jobs fill`, then `… work`, on uvloop."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import run_worker

from bench.rivals.ledger import JOBS, URL, Ledger

REDIS = RedisSettings.from_dsn(os.environ[URL])
_ledger = Ledger()


async def nothing(_context: dict[Any, Any], number: int) -> None:
    """Takes no time."""
    _ledger.ran(number)


# A poll reads arq's own five times `max_jobs`.
WORKER_SETTINGS: dict[str, Any] = {
    "functions": [nothing],
    "redis_settings": REDIS,
    "poll_delay": 0.005,
    "max_jobs": 200,
    "keep_result": 0,
}


async def _fill(jobs: int) -> None:
    pool = await create_pool(REDIS)
    try:
        for number in range(jobs):
            await pool.enqueue_job("nothing", number)
    finally:
        await pool.aclose(close_connection_pool=True)


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    if sys.argv[1] == "fill":
        asyncio.run(_fill(int(os.environ[JOBS])))
    else:
        asyncio.set_event_loop(asyncio.new_event_loop())
        run_worker(WORKER_SETTINGS)
