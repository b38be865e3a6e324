"""What Redis knows of bells and of those who listen for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from broker.queue.connection import bell_name
from tests.integration.queue.ledger import TYPE

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from arq import ArqRedis


async def rung(redis: ArqRedis, bells: int) -> bool:
    """Whether as many bells are there, one for each nudge that was sent."""
    return await cast("Awaitable[int]", redis.llen(bell_name(TYPE))) == bells


async def listening(redis: ArqRedis, workers: int) -> bool:
    """Whether as many wait for a bell now. Who has waited for longest hears it."""
    return bool((await redis.info("clients"))["blocked_clients"] == workers)
