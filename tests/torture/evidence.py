"""What is known after a run: what clients saw, what the database holds, what the receiver got, what was broken."""

from __future__ import annotations

import json
import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from broker.batches import OUTPUT, Result
from tests.torture.content import Work
from tests.torture.customer import Arrival
from tests.torture.driver import Injected
from tests.torture.fleet import Exit
from tests.torture.history import Line
from tests.torture.load import Posted
from tests.torture.plan import AWAY

KILLED, RECYCLED = -9, 75
AFTERMATH_MS = 2_000
"""How long a fault that is mended may still be felt, as by a connection that is found to be dead."""
UNDER_WAY_MS = 250
"""How long after a process was stopped what was written just before may still be noted."""


@dataclass(frozen=True)
class BatchSeen:
    """A row of `batches`. number: the one that was posted with it; blobs: the keys of its larger inputs.

    small: place -> picture of its small ones, None where it is not there.
    """

    id: str
    number: int | None
    status: str
    outcome: str | None
    run: int
    webhook: bool
    blobs: tuple[str, ...]
    created: int
    finished: int | None
    small: Mapping[int, bytes | None] = field(default_factory=dict)


@dataclass(frozen=True)
class DeliverySeen:
    """A row of `deliveries`."""

    id: str
    batch: str
    run: int
    event: str
    state: str
    body: bytes


@dataclass(frozen=True)
class AttemptSeen:
    """A row of `attempts`: one try at sending a delivery. good: the broker noted a 2xx; None: it noted nothing.

    lasted: ms until its end, as noted. timed_out: noted as a try that had no answer in time.
    """

    delivery: str
    started: int
    good: bool | None
    lasted: int | None = None
    timed_out: bool = False


@dataclass(frozen=True)
class Evidence:
    """All of it. results: batch id -> its rows. details: batch id -> the API's answer. files: keys of blobs on disk.

    suspended, harmed: ids of processes that were stopped for a while, and of those that a record was about to harm.
    """

    posted: Sequence[Posted]
    batches: Mapping[str, BatchSeen]
    results: Mapping[str, Sequence[Result]]
    deliveries: Sequence[DeliverySeen]
    history: Sequence[Line]
    arrivals: Sequence[Arrival]
    attempts: Sequence[AttemptSeen] = ()
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    injected: Sequence[Injected] = ()
    exits: Sequence[Exit] = ()
    suspended: Collection[int] = ()
    harmed: Collection[int] = ()
    database: str = "sqlite"

    @cached_property
    def ids(self) -> dict[int, str]:
        """Number -> the id that its POST was answered with."""
        return {posted.work.number: posted.ids[0] for posted in self.posted if posted.ids}

    @cached_property
    def works(self) -> dict[int, Work]:
        """Number -> what was posted."""
        return {posted.work.number: posted.work for posted in self.posted}

    @cached_property
    def harmful(self) -> frozenset[int]:
        """The numbers of what was posted with a record that kills or holds its process."""
        return frozenset(posted.work.number for posted in self.posted if posted.work.harmful)

    @cached_property
    def cancelled(self) -> frozenset[str]:
        """Ids of batches whose first run was cancelled, as the customer was told."""
        return frozenset(posted.ids[0] for posted in self.posted if posted.cancelled)

    @cached_property
    def lines(self) -> dict[str, list[Line]]:
        """Batch id -> its history."""
        lines: defaultdict[str, list[Line]] = defaultdict(list)
        for line in self.history:
            lines[line.batch].append(line)
        return dict(lines)

    def crashes_of(self, batch: str) -> list[Line]:
        """The changes by which a crash of a batch was counted."""
        moves = [line for line in self.lines.get(batch, []) if line.what == "batch"]
        return [line for before, line in pairwise(moves) if (line.crashes or 0) > (before.crashes or 0)]

    @cached_property
    def struck(self) -> frozenset[int]:
        """Ids of processes that were killed, or stopped for a while, and lost their leases by that."""
        return frozenset((*self.suspended, *(exit.pid for exit in self.exits if exit.status == KILLED)))

    @cached_property
    def tries(self) -> dict[str, list[AttemptSeen]]:
        """Delivery id -> its attempts in the order in which they started."""
        tries: defaultdict[str, list[AttemptSeen]] = defaultdict(list)
        for attempt in sorted(self.attempts, key=lambda attempt: attempt.started):
            tries[attempt.delivery].append(attempt)
        return dict(tries)

    def kept_from_recording(self, sender: int | None, begin: int, end: int) -> bool:
        """Whether, between two times in ms since 1970, a process died or was stopped, or its database took no writes.

        Who ends in good order records what its tries have brought. sender: None = one that was gone so early that
        nobody knows which worker it was.
        """
        ends = [exit for exit in self.exits if exit.status == KILLED and begin <= exit.at <= end]
        faults = self._faults(begin, end)
        if sender is None:
            ended = any(exit.slot.startswith("worker") for exit in ends)
        else:
            ended = any(exit.pid == sender for exit in ends) or any(fault.stopped == sender for fault in faults)
        return ended or self.was_away(begin, end) or any(map(self._held_lock, faults))

    def was_away(self, begin: int, end: int) -> bool:
        """Whether a fault kept the database from taking writes at some time between two, in ms since 1970."""
        return any(one.fault.kind in AWAY[self.database] for one in self._faults(begin, end))

    def _faults(self, begin: int, end: int) -> list[Injected]:
        return [one for one in self.injected if one.began <= end and begin <= one.ended + AFTERMATH_MS]

    def was_stopped(self, sender: int | None, begin: int, end: int) -> bool:
        """Whether a process was stopped for a while between two times in ms since 1970.

        sender: None = one that had hung up when its POST was read, as after a wait that ends with its process's; any.
        """
        stops = [one for one in self.injected if one.began <= end and begin <= one.ended and one.stopped is not None]
        return any(sender in (one.stopped, None) for one in stops)

    def _held_lock(self, fault: Injected) -> bool:
        """Whether a process was stopped as it wrote: all others wait for SQLite's lock then, so nothing is written."""
        if self.database != "sqlite" or fault.stopped is None:
            return False
        place = bisect_right(self._moments, fault.began + UNDER_WAY_MS)
        return self._moments[place] >= fault.ended

    @cached_property
    def _moments(self) -> list[int]:
        return [*sorted(line.at for line in self.history), sys.maxsize]


def outputs_of(result: Result) -> list[str]:
    """The blob keys in a result's facts."""
    return [value[OUTPUT] for value in result.facts.values() if isinstance(value, dict) and OUTPUT in value]


def number_in(extra: str) -> int | None:
    """The number that was posted with a batch."""
    number = json.loads(extra).get("number")
    return number if isinstance(number, int) else None
