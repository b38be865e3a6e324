"""taskiq's list on Redis, without a result backend: this fills it.

`taskiq worker bench.rivals.taskiq_jobs:broker` works. taskiq runs on uvloop by itself where that is installed.
"""

from __future__ import annotations

import asyncio
import os

from taskiq_redis import ListQueueBroker

from bench.rivals.ledger import JOBS, URL, Ledger

broker = ListQueueBroker(os.environ[URL])
_ledger = Ledger()


@broker.task(task_name="nothing")
async def nothing(number: int) -> None:
    """Takes no time."""
    _ledger.ran(number)


async def _fill(jobs: int) -> None:
    await broker.startup()
    try:
        for number in range(jobs):
            await nothing.kiq(number)
    finally:
        await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(_fill(int(os.environ[JOBS])))
