"""Sending deliveries: claim what is due, sign, POST, judge the answer, record the attempt."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx
import structlog

from broker.deliveries import AttemptResult, DueDelivery, State, Verdict, pause_before, verdict
from broker.errors import AddressRefused, Unavailable
from broker.net.body import read_up_to
from broker.secrets import Purpose, Vault
from broker.store.database import Database
from broker.store.deliveries import DueOrder, claim_deliveries, record_attempts
from broker.webhooks.keys import SigningSecrets
from broker.webhooks.signing import signed_headers

SLOTS = 32
LOOK_SECONDS = 1.0
LEASE_MARGIN = 10.0
RESPONSE_BYTES = 20_000
REFUSED = "address not allowed"
NOT_SENT = "could not be sent"
INSTANT_SECONDS = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """What one POST brought: an HTTP status, or a short error that may be shown to the customer."""

    status_code: int | None = None
    error: str | None = None
    excerpt: str = ""
    connection_died: bool = False


@dataclass(slots=True)
class Sender:
    """Sends from the delivery rows. `schedule` holds the pauses before each try, `timeout` the seconds one may take."""

    database: Database
    vault: Vault
    client: httpx.AsyncClient
    schedule: Sequence[float]
    timeout: float
    keys: SigningSecrets = field(init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: set[asyncio.Task[None]] = field(default_factory=set)
    _spread: random.Random = field(default_factory=random.SystemRandom)

    def __post_init__(self) -> None:
        self.keys = SigningSecrets(self.database, self.vault)

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
            answer = await self._answer(delivery)
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

    async def _answer(self, delivery: DueDelivery) -> Answer:
        """What came of one POST; what is wrong on our side counts as a try too, so that every delivery ends."""
        try:
            return await self._post(delivery)
        except Unavailable:
            raise
        except Exception:
            log.exception("delivery.crashed", delivery=delivery.id, batch=delivery.batch)
            return Answer(error=NOT_SENT)

    async def _post(self, delivery: DueDelivery) -> Answer:
        target = json.loads(self.vault.open(Purpose.WEBHOOK_TARGET, delivery.target))
        secrets = await self.keys.of(delivery.workspace)
        ours = {
            **signed_headers(secrets, delivery.id, int(time.time()), delivery.body),
            "content-type": "application/json",
        }
        try:
            async with asyncio.timeout(self.timeout):
                return await self._exchange(target["url"], {**_foreign(target["headers"], ours), **ours}, delivery.body)
        except AddressRefused:
            return Answer(error=REFUSED)
        except (TimeoutError, httpx.TimeoutException):
            return Answer(error="timeout")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Answer(
                error=_name(error), connection_died=isinstance(error, httpx.NetworkError | httpx.ProtocolError)
            )

    async def _exchange(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        async with self.client.stream("POST", url, headers=headers, content=body) as response:
            excerpt = await read_up_to(response, RESPONSE_BYTES)
            return Answer(response.status_code, None, excerpt.decode("utf-8", "replace").replace("\0", ""))

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
        judged = Verdict.LATER if answer.status_code is None else verdict(answer.status_code)
        if judged is not Verdict.LATER:
            return (State.DELIVERED if judged is Verdict.DONE else State.STOPPED), 0.0
        pause = pause_before(delivery.step + 1, self.schedule, self._spread)
        return (State.EXHAUSTED, 0.0) if pause is None else (State.PENDING, pause)


def _foreign(theirs: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str]:
    """The customer's headers but those that we set, however they are spelt; accepting refuses them already."""
    return {name: value for name, value in theirs.items() if name.lower() not in ours}


def _name(error: Exception) -> str:
    """A short word for a transport error; its own text may hold addresses."""
    names = {
        httpx.ConnectError: "connection failed",
        httpx.ReadError: "connection lost",
        httpx.WriteError: "connection lost",
        httpx.RemoteProtocolError: "invalid answer",
    }
    return next((text for kind, text in names.items() if isinstance(error, kind)), NOT_SENT)
