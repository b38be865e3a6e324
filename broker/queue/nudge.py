"""Tells workers that batches wait: an arq job and a bell for each, sent from the background."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

from arq.jobs import serialize_job

from broker.queue.connection import CONNECT_SECONDS, Health, connect, disconnect, encode_job, queue_name, script_text
from broker.queue.flusher import Flusher

NUDGE = "nudge"
"""Name of the arq function of a nudge; its job id is `nudge:<batch id>`."""
KEEP_MS = 3_600_000


class Nudger:
    """Rings for batches after their commit. Without a URL there is no Redis, and ringing does nothing.

    A nudge may be lost, doubled or late without harm, so a failure here is logged and never raised.
    """

    def __init__(self, redis_url: str | None, *, bound: int = 10_000) -> None:
        self._flusher = Flusher(self._send, Health("nudge"), bound=bound)
        self._redis = connect(redis_url) if redis_url else None
        self._script = self._redis.register_script(script_text("ring.lua")) if self._redis else None

    def ring(self, batches: Iterable[tuple[str, str]]) -> None:
        """(type, batch id) of batches that wait for a worker. Returns at once; to be called on the event loop."""
        if self._redis is not None:
            self._flusher.put(batches)

    async def ping(self) -> str | None:
        """Ask Redis now: None when it answers (or there is none), else a reason that names no address."""
        if self._redis is None:
            return None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._redis.ping()
        except Exception as error:
            return f"does not answer ({type(error).__name__})"
        return None

    async def start(self) -> None:
        if self._redis is not None:
            self._flusher.start()

    async def aclose(self) -> None:
        """Send what waits, for at most a second, and disconnect."""
        await self._flusher.aclose()
        if self._redis is not None:
            await disconnect(self._redis)

    async def _send(self, batches: Sequence[tuple[str, str]]) -> None:
        if self._script is None:
            return
        by_type: defaultdict[str, list[str]] = defaultdict(list)
        for batch_type, batch_id in batches:
            by_type[batch_type].append(batch_id)
        head, tail = _job_around_id()
        arguments: list[str | int] = [head, tail, KEEP_MS]
        for ids in by_type.values():
            arguments += [len(ids), *ids]
        await self._script(keys=[queue_name(batch_type) for batch_type in by_type], args=arguments)


def _job_around_id() -> tuple[str, str]:
    """arq's own job bytes, split where the batch id stands: the script makes any number of jobs from one."""
    job = serialize_job(NUDGE, ("<id>",), {}, None, int(time.time() * 1000), serializer=encode_job)
    head, _, tail = job.decode().partition(json.dumps("<id>"))
    return head, tail
