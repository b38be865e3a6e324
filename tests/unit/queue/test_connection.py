"""Questions to Redis that nobody waits for any more."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from broker.queue.connection import end


async def test_a_question_that_fails_while_it_is_ended_logs_no_error() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    begun = asyncio.Event()

    async def question() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectionError("closed by server")

    task = asyncio.create_task(question())
    await begun.wait()
    await end(task)
    del task
    gc.collect()
    assert told == []
