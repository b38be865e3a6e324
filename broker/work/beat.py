"""Keeping the leases of running batches: one statement for all of them, three times a lease.

On a thread and a connection of its own, so that neither a handler that blocks the event loop nor writes that wait
before it cost a lease. A worker that cannot extend its leases lets go of them before others may take them.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from threading import Event, Thread

import structlog

from broker.errors import Unavailable
from broker.store.claims import Claim
from broker.store.leases import Beat, GiveBack, Lease, Strays, extend_leases, give_back_batches, return_strays
from broker.store.writer import Session, Writer
from broker.work.calls import on_thread
from broker.work.held import Held

CLOSE_SECONDS = 5.0
RETRY_SECONDS = 1.0

log = structlog.get_logger()


class Heartbeat:
    """One a worker process. `held` knows the leases; their tasks are cancelled on the event loop of `start`."""

    def __init__(self, open_session: Callable[[], Session], owner: str, lease_seconds: float) -> None:
        self.held = Held()
        self._open_session = open_session
        self._owner = owner
        self._lease = lease_seconds
        self._returns: deque[GiveBack] = deque()
        self._doubts_until = 0.0
        self._stopping = False
        self._started = Event()

    async def start(self) -> None:
        self._workers_loop = asyncio.get_running_loop()
        session = self._open_session()
        self._thread = Thread(target=asyncio.run, args=(self._main(session),), name="heartbeat", daemon=True)
        self._thread.start()
        await asyncio.to_thread(self._started.wait)

    async def aclose(self) -> None:
        """Give back what could not be given back yet, if the database is there soon."""
        self._end = time.monotonic() + CLOSE_SECONDS
        self._stopping = True
        self._tell()
        join = partial(self._thread.join, 2 * CLOSE_SECONDS)
        await on_thread(join).ended  # not one of asyncio's threads: handlers that hang may have taken them all

    def hold(self, claims: Sequence[Claim], asked: float) -> None:
        """Batches just claimed. asked: `time.monotonic()` before the claim, from which the leases count for us."""
        self.held.add(claims, self._until(asked))
        if (
            claims and time.monotonic() - asked > self._lease / 3
        ):  # the claim had to wait: do not wait for the next beat
            self._tell()

    def give_back(self, give_back: GiveBack) -> None:
        """Return a batch as soon as the database takes it, unless its lease runs out before."""
        self._returns.append(give_back)
        self._tell()

    def doubt(self) -> None:
        """A claim failed: it may have been committed all the same, so look for leases that nobody knows of."""
        self._doubts_until = time.monotonic() + self._lease

    def _until(self, asked: float) -> float:
        """When to let go: a little before others may think that the lease is over."""
        return asked + self._lease * 0.9

    def _tell(self) -> None:
        with suppress(RuntimeError):  # its loop is closed: the thread has ended
            self._loop.call_soon_threadsafe(self._wake.set)

    async def _main(self, session: Session) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._started.set()
        writer = Writer(session)
        watching = asyncio.create_task(self._let_go_in_time())
        kept = True
        while not self._stopping or (self._returns and time.monotonic() < self._end):
            await self._rest(self._lease / 3 if kept else min(self._lease / 10, RETRY_SECONDS))
            kept = await self._keep(writer)
        watching.cancel()
        await writer.aclose()

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _keep(self, writer: Writer) -> bool:
        """Beat, and return what waits for it. Whether the database took it."""
        try:
            await self._beat(writer)
            while self._returns:
                held = await writer.write(give_back_batches, self._returns[0])
                batch = self._returns.popleft().lease.batch
                log.info("batch.given_back" if held else "batch.dropped", batch=batch, reason="let go")
            if time.monotonic() < self._doubts_until:
                await self._return_strays(writer)
        except Unavailable:
            log.warning("lease.beat_failed", leases=len(self.held.leases))
            return False
        except Exception:
            log.exception("lease.beat_crashed")
            return False
        return True

    async def _beat(self, writer: Writer) -> None:
        leases = self.held.leases
        if not leases:
            return
        asked = time.monotonic()
        kept = await writer.write(extend_leases, Beat(self._owner, leases, int(self._lease * 1000)))
        self.held.extend(kept, self._until(asked))
        for lease in leases:
            if lease not in kept and self._lose(lease):
                log.info("lease.lost", batch=lease.batch, lease_seq=lease.seq)  # by a customer's cancel, for one

    async def _return_strays(self, writer: Writer) -> None:
        lease_ms = int(self._lease * 1000)
        order = Strays(self._owner, self.held.leases, lease_ms, age_ms=lease_ms // 4)
        for type, batch in await writer.write(return_strays, order):
            log.info("batch.given_back", batch=batch, type=type, reason="claimed unawares")

    async def _let_go_in_time(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 30)
            for lease in self.held.doubtful(time.monotonic()):
                if self._lose(lease):
                    log.warning("lease.let_go", batch=lease.batch, lease_seq=lease.seq)

    def _lose(self, lease: Lease) -> bool:
        if not self.held.lose(lease):
            return False
        with suppress(RuntimeError):  # the worker's loop is closed
            self._workers_loop.call_soon_threadsafe(self.held.cancel, lease)
        return True
