"""How every part here connects to Redis, names its keys, and behaves while Redis is away."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import structlog
from arq import ArqRedis
from redis.asyncio import ConnectionPool

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0

log = structlog.get_logger(__name__)


def connect(url: str, *, answer_seconds: float = ANSWER_SECONDS) -> ArqRedis:
    """A client of `url` that has not connected yet; each command fails after `answer_seconds` without an answer.

    The driver's own retries stay off: who calls knows better when to try again. Raises ValueError for a bad URL.
    """
    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": answer_seconds,
        "health_check_interval": 30,
    }
    if not url.startswith("unix://"):
        options["socket_keepalive"] = True
    pool = ConnectionPool.from_url(url, **options)
    return ArqRedis(pool, job_serializer=encode_job, job_deserializer=decode_job)


async def disconnect(redis: ArqRedis) -> None:
    await redis.aclose(close_connection_pool=True)


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel until it has ended: redis-py sends with `asyncio.wait_for`, which may swallow a cancellation in 3.11."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.5)
    if not task.cancelled():
        task.exception()  # or asyncio logs as an error what nobody asks for any more


def encode_job(job: dict[str, Any]) -> bytes:
    """arq's job or result -> JSON. arq's default, pickle, would run the code of whoever can write to Redis."""
    return json.dumps(job, separators=(",", ":")).encode()


def decode_job(job: bytes) -> dict[str, Any]:
    """The reverse of `encode_job`. Raises ValueError for anything else."""
    decoded: dict[str, Any] = json.loads(job)
    return decoded


def queue_name(batch_type: str) -> str:
    """The arq queue of a type."""
    return f"broker:queue:{batch_type}"


def bell_name(batch_type: str) -> str:
    """The list beside that queue that idle workers block on; one element for each nudge."""
    return f"{queue_name(batch_type)}:bell"


def script_text(name: str) -> str:
    return (Path(__file__).parent / name).read_text()


def backoff(failures: int, cap: float) -> float:
    """Seconds to pause after that many failures in a row: 0.1, 0.2, 0.4 … `cap`."""
    return min(cap, 0.1 * 2.0 ** min(failures - 1, 30))


class Health:
    """Whether Redis answers one part of the program; each change is logged once, as `<part>.redis_down` or `_up`.

    Callers report every exception, not only redis-py's: uvloop raises RuntimeError for a transport that was closed
    under it, and a part that works in the background must outlive what it did not foresee.
    """

    def __init__(self, part: str) -> None:
        self._part = part
        self._failures = 0

    @property
    def up(self) -> bool:
        return self._failures == 0

    def failed(self, error: BaseException) -> float:
        """Note a failure; returns the seconds to pause before the next try, at most 2."""
        if self.up:
            log.warning(f"{self._part}.redis_down", error=f"{type(error).__name__}: {error}")
        self._failures += 1
        return backoff(self._failures, cap=2.0)

    def worked(self, **facts: object) -> None:
        if not self.up:
            log.info(f"{self._part}.redis_up", failures=self._failures, **facts)
        self._failures = 0
