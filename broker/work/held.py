"""The leases that this worker holds: who runs them, and until when they are its own beyond doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from broker.store.claims import Claim
from broker.store.leases import Lease


@dataclass(slots=True)
class _Hold:
    """until: on this process's monotonic clock. ending: its end is on its way into SQL, whose answer decides."""

    careful: bool
    until: float
    task: asyncio.Task[Any] | None = None
    ending: bool = False
    over: bool = False


class Held:
    """Used by the event loop, which runs batches, and by the heartbeat's thread, which keeps their leases."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._holds: dict[Lease, _Hold] = {}

    @property
    def idle(self) -> bool:
        return not self._holds

    @property
    def alone(self) -> bool:
        """Whether what is held is to run alone."""
        with self._lock:
            return any(hold.careful for hold in self._holds.values())

    @property
    def leases(self) -> tuple[Lease, ...]:
        with self._lock:
            return tuple(self._holds)

    def add(self, claims: Sequence[Claim], until: float) -> None:
        """Batches just claimed; their tasks follow."""
        with self._lock:
            self._holds.update({claim.lease: _Hold(claim.careful, until) for claim in claims})

    def begin(self, lease: Lease) -> bool:
        """The current task runs the batch from now on. False when the lease is lost already."""
        with self._lock:
            hold = self._holds.get(lease)
            if hold is None or hold.over:
                return False
            hold.task = asyncio.current_task()
            return True

    def end(self, lease: Lease) -> None:
        """The batch's end is being written: whether the lease is lost will be told by that."""
        with self._lock:
            if hold := self._holds.get(lease):
                hold.ending = True

    def drop(self, lease: Lease) -> None:
        with self._lock:
            self._holds.pop(lease, None)

    def extend(self, leases: Collection[Lease], until: float) -> None:
        """These are held until then."""
        with self._lock:
            for lease in leases:
                if hold := self._holds.get(lease):
                    hold.until = until

    def doubtful(self, now: float) -> list[Lease]:
        """Leases that others may think are over. None is told twice."""
        with self._lock:
            return [lease for lease, hold in self._holds.items() if hold.until <= now and not hold.over]

    def lose(self, lease: Lease) -> bool:
        """The lease is over. False when that is known, or when nobody needs to know: its end is being written."""
        with self._lock:
            hold = self._holds.get(lease)
            if hold is None or hold.over or hold.ending:
                return False
            hold.over = True
            return True

    def cancel(self, lease: Lease) -> None:
        """End the task of a lost lease; to be called on its event loop. One that is ending already goes on so."""
        with self._lock:
            hold = self._holds.get(lease)
            task = hold.task if hold and not hold.ending else None
        if task is not None and not task.cancelling():
            task.cancel()
