"""The fault driver: carries out a plan, each fault at its time, and mends what it broke."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from redis import Redis

from tests.torture.databases import Injection
from tests.torture.fleet import Slot, TorturedFleet
from tests.torture.plan import Fault, Kind

ATTEMPTS, ATTEMPT_SECONDS = 1000, 0.02


@dataclass(frozen=True)
class Injected:
    """A fault that was done: when it began and when all was mended, in ms since 1970.

    stopped: the id of the process that was stopped for a while.
    """

    fault: Fault
    began: int
    ended: int
    stopped: int | None = None


@dataclass
class Driver:
    """Does faults to a fleet and its database. Two that need the same process or server come in turn.

    is_free: whether nobody keeps others from writing; a worker is frozen for long only then, as SQLite has one lock.
    """

    fleet: TorturedFleet
    of_database: Mapping[Kind, Injection]
    is_free: Callable[[], bool]
    injected: list[Injected] = field(default_factory=list)
    _valkey: asyncio.Lock = field(default_factory=asyncio.Lock)
    _database: asyncio.Lock = field(default_factory=asyncio.Lock)
    _disk: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def carry_out(self, plan: Sequence[Fault]) -> None:
        """Returns when the last fault is mended."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in plan:
                await asyncio.sleep(max(0.0, start + fault.at - time.monotonic()))
                group.create_task(self._do(fault), name=str(fault))

    async def _do(self, fault: Fault) -> None:
        began, stopped = _now(), None
        match fault.kind:
            case Kind.WORKER_KILLED:
                await _kill(_one(self.fleet.workers, fault), fault.lasts)
            case Kind.WEB_KILLED:
                await _kill(_one(self.fleet.webs, fault), fault.lasts)
            case Kind.WORKER_STOPPED | Kind.WORKER_FROZEN:
                harmless = self.is_free if fault.kind is Kind.WORKER_FROZEN else _always
                stopped = await _suspend(_one(self.fleet.workers, fault), fault.lasts, harmless)
                if stopped is None:
                    return
            case Kind.ROLLING_RESTART:
                await self._restart_all()
            case Kind.DISK_FULL:
                await self._fill_disk(fault.lasts)
            case Kind.VALKEY_KILLED:
                await self._kill_valkey(fault.lasts)
            case Kind.VALKEY_EMPTIED:
                await self._tell_valkey("FLUSHALL")
            case Kind.VALKEY_CUT:
                await self._tell_valkey("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            case _:
                async with self._database:
                    await asyncio.to_thread(self.of_database[fault.kind], fault.lasts)
        self.injected.append(Injected(fault, began, _now(), stopped))

    async def _restart_all(self) -> None:
        for slot in self.fleet.slots:
            async with slot.lock:
                if slot.pid is not None:
                    await slot.end(signal.SIGTERM)
                    await slot.start()

    async def _fill_disk(self, seconds: float) -> None:
        """For the processes that run now; one that is being started, or is started meanwhile, finds room."""
        async with self._disk:
            for slot in self.fleet.slots:
                if not slot.lock.locked():  # or what copies the log of one that starts would have the limit for ever
                    slot.limit_files(0)
            await asyncio.sleep(seconds)
            for slot in self.fleet.slots:
                slot.limit_files()

    async def _kill_valkey(self, seconds: float) -> None:
        async with self._valkey:
            assert self.fleet.valkey.pid is not None
            os.kill(self.fleet.valkey.pid, signal.SIGKILL)
            await asyncio.sleep(seconds)
            self.fleet.valkey.start()

    async def _tell_valkey(self, *command: str) -> None:
        async with self._valkey:
            with Redis.from_url(self.fleet.valkey.url) as redis:
                redis.execute_command(*command)


def _one(slots: Sequence[Slot], fault: Fault) -> Slot:
    return slots[fault.target % len(slots)]


async def _kill(slot: Slot, seconds: float) -> None:
    async with slot.lock:
        await slot.end(signal.SIGKILL)
        await asyncio.sleep(seconds)
        await slot.start()


async def _suspend(slot: Slot, seconds: float, harmless: Callable[[], bool]) -> int | None:
    """The id of the process that it was done to; None: it ended by itself, or there was no `harmless` moment."""
    async with slot.lock:
        stopped = slot.pid
        for _ in range(ATTEMPTS):
            slot.signal(signal.SIGSTOP)
            if slot.pid is None:
                return None
            if stopped is not None and harmless():
                slot.suspended.add(stopped)
                await asyncio.sleep(seconds)
                slot.signal(signal.SIGCONT)
                return stopped
            slot.signal(signal.SIGCONT)
            await asyncio.sleep(ATTEMPT_SECONDS)
    return None


def _always() -> bool:
    return True


def _now() -> int:
    return time.time_ns() // 1_000_000
