"""The SQL side of the queue's tests: batches in memory, handed out once each, with a record of what happened."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count as count_up

TYPE = "upscaler"
PATIENCE = 15.0
"""Seconds after which a wait is a failure; half of NEVER."""
NEVER = 30.0
"""An idle pause so long that what happens before it was not found by the idle look."""


@dataclass(frozen=True)
class Batch:
    id: str
    type: str = TYPE


@dataclass
class Ledger:
    """`claim` and `run` are what a worker is given. A closed gate keeps batches running."""

    waiting: list[Batch] = field(default_factory=list)
    runs: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    given_back: list[str] = field(default_factory=list)
    now: set[str] = field(default_factory=set)
    most: int = 0
    claims: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    _claiming: bool = False
    _numbers: Iterator[int] = field(default_factory=count_up)

    def __post_init__(self) -> None:
        self.gate.set()

    def add(self, count: int, batch_type: str = TYPE) -> list[tuple[str, str]]:
        """New waiting batches, as `Nudger.ring` wants them."""
        batches = [Batch(f"{batch_type}-{next(self._numbers)}", batch_type) for _ in range(count)]
        self.waiting += batches
        return [(batch.type, batch.id) for batch in batches]

    async def claim(self, types: Sequence[str], free: int) -> Sequence[Batch]:
        assert not self._claiming, "two claims at once"
        assert free > 0, "a claim without a free slot"
        self._claiming = True
        await asyncio.sleep(0.001)
        self._claiming = False
        self.claims += 1
        claimed = [batch for batch in self.waiting if batch.type in types][:free]
        self.waiting = [batch for batch in self.waiting if batch not in claimed]
        return claimed

    async def claim_beside_others(self, types: Sequence[str], free: int) -> Sequence[Batch]:
        """The claim of one worker among several, each of which may claim while another does."""
        claimed = [batch for batch in self.waiting if batch.type in types][:free]
        self.waiting = [batch for batch in self.waiting if batch not in claimed]
        await asyncio.sleep(0.001)
        return claimed

    async def run(self, batch: Batch) -> None:
        self.runs[batch.id] += 1
        self.now.add(batch.id)
        self.most = max(self.most, len(self.now))
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
            self.ended[batch.id] += 1
        except asyncio.CancelledError:
            self.given_back.append(batch.id)
            raise
        finally:
            self.now.discard(batch.id)

    def ran_once(self, batches: Iterable[tuple[str, str]]) -> bool:
        return all(self.runs[batch_id] == self.ended[batch_id] == 1 for _, batch_id in batches)


async def until(condition: Callable[[], object]) -> None:
    """Wait for it; a failure after PATIENCE."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


async def until_holds(condition: Callable[[], Awaitable[object]]) -> None:
    """The same for what has to be asked for."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.005)
