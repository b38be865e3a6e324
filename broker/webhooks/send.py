"""Sending deliveries: claim what is due, POST it, judge the answer, record the attempt."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import structlog

from broker.deliveries import (
    LEAST_PAUSE,
    AttemptResult,
    DueDelivery,
    Slowdown,
    State,
    Verdict,
    pause_before,
    slowdown,
    verdict,
)
from broker.errors import Unavailable
from broker.secrets import Vault
from broker.store.database import Database
from broker.store.deliveries import DueOrder, claim_deliveries, record_attempts
from broker.webhooks.keys import SigningSecrets
from broker.webhooks.post import REFUSED, TIMED_OUT, Answer, Poster

SLOTS = 32
LOOK_SECONDS = 1.0
LEASE_MARGIN = 10.0
INSTANT_SECONDS = 1.0

log = structlog.get_logger()


@dataclass(slots=True)
class Sender:
    """Sends from the delivery rows. `schedule` holds the pauses before each try, `timeout` the seconds one may take."""

    database: Database
    vault: Vault
    client: httpx.AsyncClient
    schedule: Sequence[float]
    timeout: float
    _poster: Poster = field(init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: set[asyncio.Task[None]] = field(default_factory=set)
    _spread: random.Random = field(default_factory=random.SystemRandom)

    def __post_init__(self) -> None:
        keys = SigningSecrets(self.database, self.vault)
        self._poster = Poster(self.vault, keys, self.client, self.timeout)

    def wake(self) -> None:
        """A delivery may be due."""
        self._wake.set()

    async def run(self) -> None:
        """Send what is due until cancelled; look once a second without being woken."""
        while True:
            self._wake.clear()
            free = SLOTS - len(self._sending)
            if free and await self._start(free) == free:
                continue
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def drain(self, seconds: float) -> None:
        """Let tries that are under way end. What is cut off is tried again when its lease is over."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=seconds)
        for task in self._sending:
            task.cancel()

    async def _start(self, limit: int) -> int:
        order = DueOrder(limit, int((self.timeout + LEASE_MARGIN) * 1000))
        try:
            due = await self.database.writer.write(claim_deliveries, order)
        except Unavailable:
            log.warning("delivery.claim_failed")
            return 0
        for delivery in due:
            task = asyncio.create_task(self._deliver(delivery), name=f"delivery {delivery.id}")
            self._sending.add(task)
            task.add_done_callback(self._ended)
        return len(due)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()):
            log.error("delivery.crashed", task=task.get_name(), exc_info=error)

    async def _deliver(self, delivery: DueDelivery) -> None:
        started = time.monotonic()
        try:
            answer = await self._poster.post(delivery)
            result = self._judge(delivery, answer, int((time.monotonic() - started) * 1000))
            await self.database.writer.write(record_attempts, result, weight=500 + len(result.response))
        except Unavailable:
            log.warning("delivery.not_recorded", delivery=delivery.id, batch=delivery.batch)
            return
        log.info(
            "delivery.attempted",
            delivery=delivery.id,
            batch=delivery.batch,
            attempt=delivery.attempt,
            state=result.state,
            status_code=answer.status_code,
            error=answer.error,
            ms=result.duration_ms,
        )

    def _judge(self, delivery: DueDelivery, answer: Answer, duration_ms: int) -> AttemptResult:
        hurry = answer.connection_died and duration_ms < INSTANT_SECONDS * 1000 and not delivery.hurried
        state, pause = (State.PENDING, 0.0) if hurry else self._next(delivery, answer)
        return AttemptResult(
            delivery=delivery.id,
            lease_seq=delivery.lease_seq,
            attempt=delivery.attempt,
            state=state,
            status_code=answer.status_code,
            error=answer.error,
            response=answer.excerpt,
            duration_ms=duration_ms,
            pause_ms=int(pause * 1000),
            hurry=hurry,
        )

    def _next(self, delivery: DueDelivery, answer: Answer) -> tuple[State, float]:
        """The state after this try, and the seconds until the next."""
        if answer.error == REFUSED:
            return State.REFUSED, 0.0
        judged = Verdict.LATER if answer.status_code is None else verdict(answer.status_code, answer.wish)
        if judged is not Verdict.LATER:
            return (State.DELIVERED if judged is Verdict.DONE else State.STOPPED), 0.0
        pause = pause_before(delivery.step + 1, self.schedule, self._spread, _slowdown(answer))
        return (State.EXHAUSTED, 0.0) if pause is None else (State.PENDING, pause)


def _slowdown(answer: Answer) -> Slowdown:
    if answer.status_code is None:
        return Slowdown(least=LEAST_PAUSE if answer.error == TIMED_OUT else 0.0)
    return slowdown(answer.status_code, answer.retry_after, time.time())
