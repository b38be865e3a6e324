"""Runs batches: listens for nudges, claims into its free slots, stops in good order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

import structlog
from arq.worker import Function, Worker, func

from broker.queue.connection import backoff, decode_job, encode_job, end, queue_name
from broker.queue.inbox import Inbox
from broker.queue.nudge import NUDGE

if TYPE_CHECKING:
    from arq.typing import StartupShutdown, WorkerCoroutine

CLAIM_BACKOFF_CAP = 5.0
IDLE_SECONDS = 0.9
"""Nobody waits over a second for a worker that is idle; what is missing here is for the claim itself."""

log = structlog.get_logger(__name__)


class HasId(Protocol):
    @property
    def id(self) -> str: ...


Claimed = TypeVar("Claimed", bound=HasId)
Claim: TypeAlias = Callable[[Sequence[str], int], Awaitable[Sequence[Claimed]]]
"""(types, n) -> at most n batches that are now this worker's. Fewer than n means that no more wait, unless `more`."""
Run: TypeAlias = Callable[[Claimed], Awaitable[None]]
"""Runs one claimed batch to its end; on CancelledError it gives the batch back."""

_job_queue: ContextVar[str] = ContextVar("job_queue")


class BatchWorker(Worker, Generic[Claimed]):
    """An arq worker that serves the queues of several types and takes a nudge only as a reason to claim.

    `slots` bounds batches and other arq jobs together. Claims never overlap, and none is made for want of a bell
    alone: after a full claim the next follows as soon as a slot is free, likewise after one of which `more` says that
    the next end may make room for more, and an idle worker claims every `idle_seconds`. Other jobs of its queues run
    through arq's own code, with its hooks. To be constructed on the running loop; `async_run` returns after `stop`,
    when everything has ended and is closed.
    """

    def __init__(
        self,
        redis_url: str | None,
        *,
        types: Sequence[str],
        slots: int,
        claim: Claim[Claimed],
        more: Callable[[], bool] = lambda: False,
        run: Run[Claimed],
        idle_seconds: float = IDLE_SECONDS,
        grace_seconds: float = 25.0,
        functions: Sequence[Function | WorkerCoroutine] = (),
        on_startup: StartupShutdown | None = None,
        on_shutdown: StartupShutdown | None = None,
        on_job_start: StartupShutdown | None = None,
        on_job_end: StartupShutdown | None = None,
        after_job_end: StartupShutdown | None = None,
        ctx: dict[Any, Any] | None = None,
    ) -> None:
        self.types = tuple(types)
        self.slots = slots
        self.grace_seconds = grace_seconds
        self._inbox = Inbox(redis_url, self.types, idle_seconds)
        super().__init__(
            [func(_look, name=NUDGE, keep_result=0), *functions],
            queue_name=queue_name(self.types[0]),
            redis_pool=self._inbox.redis,
            handle_signals=False,
            on_startup=on_startup,
            on_shutdown=on_shutdown,
            on_job_start=on_job_start,
            on_job_end=on_job_end,
            after_job_end=after_job_end,
            max_jobs=slots,
            ctx=ctx,
            job_serializer=encode_job,
            job_deserializer=decode_job,
        )
        self._claim_batches = claim
        self._more = more
        self._idle_seconds = idle_seconds
        self._run_batch = run
        self._claims_failed = 0
        self._batches: set[asyncio.Task[None]] = set()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._stopped: asyncio.Future[None] = self.loop.create_future()
        self._slot_freed = asyncio.Event()
        self._closed = False

    @property
    def queue_name(self) -> str:
        """The queue of the arq job that the present task runs; arq reads it wherever it writes to a queue."""
        return _job_queue.get(self._first_queue)

    @queue_name.setter
    def queue_name(self, name: str) -> None:
        self._first_queue = name

    @property
    def running(self) -> Mapping[str, asyncio.Task[None]]:
        """Batch id -> its task. To cancel a task is right when its lease is lost."""
        return MappingProxyType(self._running)

    def stop(self) -> None:
        """Claim nothing more; let what runs end within `grace_seconds`, then cancel it. For the first signal."""
        self.allow_pick_jobs = False
        self._slot_freed.set()
        if not self._stopped.done():
            self._stopped.set_result(None)

    def stop_now(self) -> None:
        """Stop without grace: what runs is cancelled now and gives its batch back."""
        self.grace_seconds = 0
        self.stop()
        self.loop.call_soon(self._cancel_all)  # one that has not begun yet would give nothing back

    async def main(self) -> None:
        """What arq's `run` and `async_run` run. Cancelling it is `stop_now`."""
        try:
            await self._work()
        except asyncio.CancelledError:
            self.stop_now()
            raise
        finally:
            try:
                await self._drain()
            finally:
                await self.close()

    async def close(self) -> None:
        """`main` has closed the worker when it returns; for arq's `run`, closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        if self.on_shutdown:
            await self.on_shutdown(self.ctx)
        await self._inbox.aclose()

    async def _work(self) -> None:
        self.ctx["redis"] = self._inbox.redis
        if self.on_startup:
            await self.on_startup(self.ctx)
        while not self._stopped.done():
            if self._free > 0:
                await self._look()
                continue
            self._slot_freed.clear()
            await self._inbox.rest()
            await self._slot_freed.wait()

    async def _look(self) -> None:
        """Fill the free slots; if that leaves none waiting, rest until there is a reason to look again."""
        await self._start_jobs(await self._inbox.take(self._free))
        free = self._free
        if free <= 0 or self._stopped.done():
            return
        try:
            claimed = await self._claim_batches(self.types, free)
        except Exception:
            self._claims_failed += 1
            log.warning("queue.claim_failed", failures=self._claims_failed, exc_info=True)
            await self._inbox.rest()
            await self._unless_stopped(asyncio.sleep(backoff(self._claims_failed, CLAIM_BACKOFF_CAP)))
            return
        self._claims_failed = 0
        self._inbox.heeded()
        for batch in claimed:
            self._start(batch)
        if len(claimed) < free:
            await self._unless_stopped(self._next_end() if self._more() else self._inbox.wait())

    async def _next_end(self) -> None:
        """Until something that runs has ended, or it is time to look anyway."""
        self._slot_freed.clear()
        await self._inbox.rest()
        if self._batches:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._idle_seconds):
                    await self._slot_freed.wait()

    def _start(self, batch: Claimed) -> None:
        """A batch that still runs here was claimed anew, so the older run has lost its lease."""
        older = self._running.get(batch.id)
        if older is not None:
            older.cancel()
        task = self.loop.create_task(self._run_one(batch), name=f"batch {batch.id}")
        self._batches.add(task)
        self._running[batch.id] = task
        task.add_done_callback(partial(self._batch_ended, batch.id))

    async def _run_one(self, batch: Claimed) -> None:
        try:
            await self._run_batch(batch)
        except Exception:
            log.exception("queue.run_failed", batch_id=batch.id)

    def _batch_ended(self, batch_id: str, task: asyncio.Task[None]) -> None:
        self._batches.discard(task)
        if self._running.get(batch_id) is task:
            del self._running[batch_id]
        self._slot_freed.set()

    async def _start_jobs(self, jobs: Sequence[tuple[str, str]]) -> None:
        """Give arq's machinery the jobs that are no nudges."""
        for queue, job_id in jobs:
            await self._inbox.ask(self._start_job(queue, job_id))

    async def _start_job(self, queue: str, job_id: str) -> None:
        """To be run as a task of its own, as arq's job inherits what is set here."""
        _job_queue.set(queue)
        try:
            await self.start_jobs([job_id.encode()])
        except Exception:
            self._release_sem_dec_counter_on_complete()  # arq takes the slot first and keeps it when Redis fails
            raise
        finally:
            self._slot_freed.set()  # it may have kept a slot for longer than `ask` waited
        if job_id in self.tasks:
            self.tasks[job_id].add_done_callback(partial(self._job_ended, job_id))

    def _job_ended(self, job_id: str, task: asyncio.Task[Any]) -> None:
        if self.tasks.get(job_id) is task:
            del self.tasks[job_id]
        self._slot_freed.set()
        if not task.cancelled() and (error := task.exception()):
            log.error("queue.job_failed", job_id=job_id, exc_info=error)

    @property
    def _free(self) -> int:
        return self.slots - len(self._batches) - self.job_counter

    def _tasks(self) -> set[asyncio.Task[Any]]:
        return {*self._batches, *self.tasks.values()}

    def _cancel_all(self) -> None:
        _cancel(self._tasks())

    async def _unless_stopped(self, waiting: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(waiting)
        try:
            await asyncio.wait({task, self._stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(task)

    async def _drain(self) -> None:
        await self._inbox.hush()
        tasks = self._tasks()
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self.grace_seconds)
        if late:
            log.warning("queue.grace_over", cancelled=len(late))
            _cancel(late)
            await asyncio.wait(late)


def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    """Once: a second cancellation would break into the giving back that the first one started."""
    for task in tasks:
        if not task.cancelling():
            task.cancel()


async def _look(ctx: dict[Any, Any], batch_id: str) -> None:
    """A nudge that a stock client enqueued under a job id of its own: the claim that follows is what it asks for."""
