"""Sending deliveries: claim what is due, POST it, judge the answer, record the attempt."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import structlog
from msgspec.structs import replace

from broker.deliveries import (
    LEAST_PAUSE,
    AttemptResult,
    DueDelivery,
    NewDelivery,
    Slowdown,
    State,
    Verdict,
    call_of,
    pause_before,
    pause_when_unsent,
    slowdown,
)
from broker.endpoints import Call
from broker.errors import Unavailable
from broker.net.client import PostClient
from broker.secrets import Purpose, Vault
from broker.store.attempts import Report, record_attempts
from broker.store.database import Database
from broker.store.deliveries import DueOrder, claim_deliveries
from broker.store.put_back import put_back_deliveries
from broker.store.writer import PATIENCE
from broker.webhooks.keys import SigningSecrets
from broker.webhooks.lanes import Lanes
from broker.webhooks.notices import Notices
from broker.webhooks.post import REFUSED, TIMED_OUT, Answer, Poster, TooLate
from broker.webhooks.turns import Turns

LOOK_SECONDS = 1.0
LEASE_MARGIN = 10.0
INSTANT_SECONDS = 1.0
RECORD_PAUSE = 0.5
_NO_MORE = frozenset({Call.GONE, Call.UNWANTED})

log = structlog.get_logger()


@dataclass(slots=True)
class Sender:
    """Sends from the delivery rows. `schedule` holds the pauses before each try, `timeout` the seconds one may take.

    notices: tells the operator; None where nobody wants to know. lease_margin: how many seconds longer a claim lasts
    than the try that it is for.
    """

    database: Database
    vault: Vault
    client: PostClient
    schedule: Sequence[float]
    timeout: float
    notices: Notices | None = None
    lease_margin: float = LEASE_MARGIN
    _poster: Poster = field(init=False)
    _lanes: Lanes = field(default_factory=Lanes)
    _turns: Turns = field(init=False)
    _offered: dict[str, float] = field(default_factory=dict)
    _waits: bool = False
    _due_first: bool = False
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: set[asyncio.Task[None]] = field(default_factory=set)
    _recording: set[asyncio.Task[None]] = field(default_factory=set)
    _spread: random.Random = field(default_factory=random.SystemRandom)

    def __post_init__(self) -> None:
        keys = SigningSecrets(self.database, self.vault)
        self._turns = Turns(self._lanes.width)
        self._poster = Poster(self.vault, keys, self.client, self.timeout)

    def wake(self) -> None:
        """A delivery may be due."""
        self._wake.set()

    def offer(self, delivery: NewDelivery) -> NewDelivery:
        """The delivery, to be begun by its birth if there is room for it; must be followed by `owed`."""
        if not self._lanes.offer(delivery.endpoint.id, delivery.endpoint.origin, delivery.workspace):
            return delivery
        lease = lease_ms(self.timeout, self.lease_margin)
        self._offered[delivery.id] = time.monotonic() + lease / 1000
        return replace(delivery, claim_ms=lease)

    def owed(self, delivery: NewDelivery, begun: DueDelivery | None) -> None:
        """Send it if it is begun; if not, what was offered to it is free again, and it may be due."""
        until = self._offered.pop(delivery.id, None)
        if until is not None and begun is not None:
            self._send(begun, until)
            return
        if until is not None:
            self._lanes.withdraw(delivery.endpoint.id, delivery.endpoint.origin, delivery.workspace)
        self.wake()

    async def run(self) -> None:
        """Send what is due until cancelled; look once a second without being woken."""
        while True:
            self._wake.clear()
            free = self._lanes.free
            if free and await self._start(free):
                continue
            self._waits = self._waits or not free
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def drain(self, seconds: float) -> None:
        """Let tries that are under way end; what they brought has as long again as a write may wait for its turn.

        What is cut off is tried again when its lease is over.
        """
        self._turns.send_all_away()  # what has not begun is sent by others
        await _end(self._sending, seconds, self._recording)
        await _end(self._recording, PATIENCE)

    async def _start(self, limit: int) -> bool:
        """Begin up to so many tries; whether more may be due."""
        claiming = asyncio.create_task(self._claim(limit), name="delivery claim")
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # It may be committed all the same: what it claims would be sent by nobody until its lease is over.
            await claiming
            raise

    async def _claim(self, limit: int) -> bool:
        self._due_first = not self._due_first  # or one of the two would have every slot that a busy process frees
        lease = lease_ms(self.timeout, self.lease_margin)
        order = DueOrder(limit, lease, self._lanes.usher(), self._due_first)
        until = time.monotonic() + lease / 1000
        try:
            claimed = await self.database.writer.write(claim_deliveries, order)
        except Unavailable:
            log.warning("delivery.claim_failed")
            return False
        self._waits = claimed.waits
        for delivery in claimed.deliveries:
            self._lanes.begin(delivery.endpoint, delivery.origin, delivery.workspace)
            self._send(delivery, until)
        return claimed.more

    def _send(self, delivery: DueDelivery, until: float) -> None:
        task = asyncio.create_task(self._deliver(delivery, until), name=f"delivery {delivery.id}")
        self._sending.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._recording.discard(task)
        if self._waits:
            self._wake.set()
        if not task.cancelled() and (error := task.exception()):
            log.error("delivery.crashed", task=task.get_name(), exc_info=error)

    async def _deliver(self, delivery: DueDelivery, until: float) -> None:
        if await self._has_turn(delivery):
            await self._try(delivery, until)
            return
        try:
            await self.database.writer.write(put_back_deliveries, delivery)
        except Unavailable:  # it is due again when its claim ends
            log.warning("delivery.not_put_back", delivery=delivery.id, batch=delivery.batch)
            return
        log.info("delivery.put_back", delivery=delivery.id, batch=delivery.batch)
        self.wake()

    async def _has_turn(self, delivery: DueDelivery) -> bool:
        """Waits for it; to be given back. False where none came in time, or none ever will."""
        where = (delivery.endpoint, delivery.origin, delivery.workspace)
        try:
            await self._turns.take(delivery.endpoint)
        except TimeoutError:
            self._lanes.found_no_turn(*where)
            return False
        except BaseException:
            self._lanes.withdraw(*where)
            raise
        return True

    async def _try(self, delivery: DueDelivery, until: float) -> None:
        asked, answered = False, None
        try:
            answer, seconds = await self._post(delivery, until)
            if task := asyncio.current_task():
                self._recording.add(task)
            asked = not answer.is_ours
            answered = None if answer.status_code is None else (answer.status_code, seconds)
            result = self._judge(delivery, answer, int(seconds * 1000))
            await self._record_until(until, result)
        except Unavailable:
            log.warning("delivery.not_recorded", delivery=delivery.id, batch=delivery.batch)
            return
        except TooLate:  # as in a process that was stopped
            log.warning("delivery.late", delivery=delivery.id, batch=delivery.batch)
            return
        finally:
            where = (delivery.endpoint, delivery.origin, delivery.workspace)
            if asked:
                self._lanes.end(*where, answered)
            else:
                self._lanes.withdraw(*where)
        if result.state is State.PENDING and not result.pause_ms:
            self.wake()
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

    async def _post(self, delivery: DueDelivery, until: float) -> tuple[Answer, float]:
        """What came of a try that has its turn, and after how many seconds. Raises as `Poster.post` does."""
        started = time.monotonic()
        try:
            answer = await self._poster.post(delivery, until)
            if _call(answer) in _NO_MORE:
                self._turns.send_away(delivery.endpoint)  # they are stopped by the claim that finds them due again
            return answer, time.monotonic() - started
        finally:
            self._turns.give_back(delivery.endpoint)

    async def _record_until(self, until: float, result: AttemptResult) -> None:
        """Again and again while nobody else may send it, as what is not recorded is sent twice. Raises Unavailable."""
        while True:
            try:
                return await self._record(result)
            except Unavailable:
                if time.monotonic() + RECORD_PAUSE > until:
                    raise
            await asyncio.sleep(RECORD_PAUSE)

    async def _record(self, result: AttemptResult) -> None:
        report = Report(result, self.notices.tell) if self.notices else Report(result)
        recorded = await self.database.writer.write(record_attempts, report, weight=500 + len(result.response))
        for event in recorded.events:
            log.warning(
                event.kind,
                endpoint=event.endpoint,
                workspace=event.workspace,
                reason=event.reason,
                failures=event.failures,
                delivery=event.delivery,
                batch=event.batch,
            )

    def _judge(self, delivery: DueDelivery, answer: Answer, duration_ms: int) -> AttemptResult:
        died = answer.connection_died and duration_ms < INSTANT_SECONDS * 1000
        hurry = died and not delivery.hurried and not delivery.manual
        state, pause = (State.PENDING, 0.0) if hurry else self._next(delivery, answer)
        return AttemptResult(
            delivery=delivery.id,
            endpoint=delivery.endpoint,
            lease_seq=delivery.lease_seq,
            attempt=delivery.attempt,
            state=state,
            status_code=answer.status_code,
            error=answer.error,
            response=self.vault.seal(Purpose.WEBHOOK_ANSWER, answer.body),
            duration_ms=duration_ms,
            pause_ms=int(pause * 1000),
            call=_call(answer),
            hurry=hurry,
            unsent=answer.unsent and not delivery.manual,
            was=delivery.state,
            origin=delivery.origin,
        )

    def _next(self, delivery: DueDelivery, answer: Answer) -> tuple[State, float]:
        """The state after this try, and the seconds until the next.

        A try that a person asked for is followed by none but that of the schedule, if one is owed, in its time.
        """
        state = self._state(answer)
        if delivery.state is not State.PENDING:
            return (state if state is State.DELIVERED else delivery.state), 0.0
        if state is not State.PENDING or delivery.manual:
            return state, 0.0
        if answer.unsent:
            return state, pause_when_unsent(delivery.attempt - delivery.step, self._spread)
        pause = pause_before(delivery.step + 1, self.schedule, self._spread, _slowdown(answer))
        return (State.EXHAUSTED, 0.0) if pause is None else (State.PENDING, pause)

    @staticmethod
    def _state(answer: Answer) -> State:
        if answer.error == REFUSED:
            return State.REFUSED
        states = {Verdict.DONE: State.DELIVERED, Verdict.NEVER: State.STOPPED, Verdict.LATER: State.PENDING}
        return states[answer.verdict]


async def _end(
    tasks: AbstractSet[asyncio.Task[None]], seconds: float, spared: AbstractSet[asyncio.Task[None]] = frozenset()
) -> None:
    """Wait for tasks, and cancel those that take longer, except some."""
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
    for task in tasks - spared:
        task.cancel()


def lease_ms(timeout: float, margin: float = LEASE_MARGIN) -> int:
    """How long a claim lasts for a try that may take `timeout` seconds."""
    return int((timeout + margin) * 1000)


def _call(answer: Answer) -> Call | None:
    return None if answer.is_ours else call_of(answer.status_code, answer.wish)


def _slowdown(answer: Answer) -> Slowdown:
    if answer.status_code is None:
        return Slowdown(least=LEAST_PAUSE if answer.error == TIMED_OUT else 0.0)
    return slowdown(answer.status_code, answer.retry_after, time.time())
