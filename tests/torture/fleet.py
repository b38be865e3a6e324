"""The processes under torture: webs, workers and a Valkey; whoever ends is started anew, as a service manager does."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals

from broker.media.blobs import BLOBS_FOLDER
from broker.queue.embedded import EmbeddedValkey
from tests.acceptance.fleet import Fleet, url_of
from tests.acceptance.processes import Commands, Running
from tests.torture.content import TYPES
from tests.torture.plan import LEASE_SECONDS, WEBHOOK_TIMEOUT

PLUGIN = Path(__file__).with_name("plugin")
PIPED = (sys.executable, "-I", "-S", str(Path(__file__).with_name("piped.py")))
LOOK_SECONDS = 0.1
OPTIONS = {"web": ("--port", "0"), "worker": ("--types", ",".join(TYPES))}
SETTINGS = {
    "BROKER_ALLOW_NETWORKS": "127.0.0.0/8",
    "BROKER_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
    "BROKER_GRACE_SECONDS": "1",
    "BROKER_MIN_FREE_BYTES": "0",
    "BROKER_WORKER_THREADS": "4",
    "BROKER_LOG_FORMAT": "json",
    "BROKER_WEBHOOK_TIMEOUT": f"{WEBHOOK_TIMEOUT:g}",
    "BROKER_WEBHOOK_SCHEDULE": ",".join(["0", "0.3", "0.5"] + ["1"] * 30),
}


@dataclass(frozen=True)
class Exit:
    """The end of a process, `at` ms since 1970. asked: the signal that it was sent for that. ready: it had started."""

    slot: str
    pid: int
    at: int
    status: int
    asked: Signals | None
    log: Path
    ready: bool = True


@dataclass
class Slot:
    """The place of one process of the fleet. Who holds `lock` decides about the process."""

    name: str
    command: str
    commands: Commands
    exits: list[Exit]
    suspended: set[int]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    url: str = ""
    _running: Running | None = None
    _found_ended: int | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, while it runs."""
        if self._running is None or self._running.process.poll() is not None:
            return None
        return self._running.pid

    async def start(self) -> None:
        """Start it and wait until it serves or works; again as long as it ends before that."""
        while True:
            self._found_ended = None
            self._running = self.commands.start(self.command, *OPTIONS[self.command], before=PIPED)
            while self.pid is not None:
                if self._started() is not None:
                    return
                await asyncio.sleep(LOOK_SECONDS)
            await self._note_end(None, ready=self._started() is not None)
            await asyncio.sleep(0.5)

    def signal(self, number: Signals) -> None:
        if (pid := self.pid) is not None:
            os.kill(pid, number)

    def limit_files(self, size: int = resource.RLIM_INFINITY) -> None:
        """Let it make no file longer than `size` bytes, which is how a full disk looks to it; by default, any file."""
        with suppress(ProcessLookupError):
            if (pid := self.pid) is not None:
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))

    async def end(self, number: Signals) -> None:
        """Send it a signal that ends it, and wait for that."""
        asked = None if self.pid is None else number
        self.signal(number)
        await self._note_end(asked)

    async def _note_end(self, asked: Signals | None, *, ready: bool = True) -> None:
        """Wait for its end and write it down."""
        assert self._running is not None
        while self.pid is not None:
            await asyncio.sleep(LOOK_SECONDS)
        status = self._running.process.wait()
        at = self._found_ended or time.time_ns() // 1_000_000
        self.exits.append(Exit(self.name, self._running.pid, at, status, asked, self._running.err, ready))

    async def keep(self) -> None:
        """Start it anew whenever it ends unasked, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.pid is not None:
                continue
            self._found_ended = self._found_ended or time.time_ns() // 1_000_000  # whoever has the lock may take long
            if not self.lock.locked():
                async with self.lock:
                    await self._note_end(None)
                    await self.start()

    def _started(self) -> str | None:
        """What it said when it was ready: a web's URL, or an empty text."""
        assert self._running is not None
        if self.command == "worker":
            return "" if self._running.says('"worker.started"') else None
        self.url = url_of(self._running)
        return self.url or None


@dataclass
class TorturedFleet:
    """All of them. `exits` tells who ended when, `suspended` the ids of processes that were stopped for a while."""

    fleet: Fleet
    valkey: EmbeddedValkey
    webs: list[Slot]
    workers: list[Slot]
    exits: list[Exit]
    suspended: set[int]

    @property
    def blobs(self) -> Path:
        """The folder of the blob store."""
        return self.fleet.commands.folder / "data" / BLOBS_FOLDER

    @property
    def slots(self) -> list[Slot]:
        return [*self.webs, *self.workers]


@asynccontextmanager
async def running_fleet(
    commands: Commands,
    database_url: str,
    *,
    webs: int,
    workers: int,
    environment: Mapping[str, str],
    packages: Sequence[Path] = (),
) -> AsyncIterator[TorturedFleet]:
    """A fleet whose processes are all ready, and are kept running until the end."""
    valkey = EmbeddedValkey(commands.folder / "redis")
    valkey.start()
    commands = commands.with_environment(**SETTINGS, **environment).with_packages(PLUGIN, *packages)
    fleet = Fleet(commands, database_url, valkey.url)
    await asyncio.to_thread(fleet.provision)
    exits: list[Exit] = []
    suspended: set[int] = set()

    def slot(command: str, number: int) -> Slot:
        return Slot(f"{command} {number}", command, fleet.commands, exits, suspended)

    tortured = TorturedFleet(
        fleet,
        valkey,
        webs=[slot("web", number) for number in range(webs)],
        workers=[slot("worker", number) for number in range(workers)],
        exits=exits,
        suspended=suspended,
    )
    keepers: list[asyncio.Task[None]] = []
    try:
        await asyncio.gather(*(slot.start() for slot in tortured.slots))
        keepers += [asyncio.create_task(slot.keep(), name=f"keeper of {slot.name}") for slot in tortured.slots]
        yield tortured
        for started in tortured.slots:
            await started.lock.acquire()  # whoever is being started does not know what to do on a signal yet
        await _end(keepers)
        await asyncio.gather(*(slot.end(signal.SIGTERM) for slot in tortured.slots))
    finally:
        for keeper in keepers:
            keeper.cancel()
        valkey.stop()


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks. Raises what one of them raised meanwhile."""
    for task in tasks:
        task.cancel()
    for answer in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(answer, Exception):
            raise answer
