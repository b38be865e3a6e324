"""Reading blobs from this machine's disk: all that are asked for meanwhile share the next turn of a thread.

For a small file, waking a thread costs more than reading: it and the event loop hand Python's global lock to and fro.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import TypeAlias

from broker.threads import in_thread

TURNS = 4
"""Threads that read side by side."""
PATIENCE = 0.005
"""Seconds of a turn. What waits for longer, as for a large file or a slow disk, has another one beside it."""
SMALL = 16 * 1024
"""Bytes of a first read. A file that has fewer takes no second one."""
LARGE = 4 * 1024 * 1024

Found: TypeAlias = "asyncio.Future[bytes]"


class _Turn:
    """Of one thread. read: what it has read and nobody was told yet."""

    def __init__(self) -> None:
        self.ends = time.monotonic() + PATIENCE
        self.read: deque[tuple[Found, bytes | Exception]] = deque()

    def tell(self) -> None:
        while self.read:
            _settle(*self.read.popleft())


class FolderReads:
    """One a process and folder, for one event loop."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._waiting: deque[tuple[str, Found]] = deque()
        self._turns: set[_Turn] = set()
        self._young: set[_Turn] = set()

    async def get(self, key: str) -> bytes:
        """A file's bytes. Raises OSError."""
        found: Found = asyncio.get_running_loop().create_future()
        self._waiting.append((key, found))
        if not self._young:
            self._start_turn()
        return await found

    def _start_turn(self) -> None:
        """On the loop's next round: what is asked for in this one comes along."""
        if self._waiting and len(self._turns) < TURNS:
            turn = _Turn()
            self._turns.add(turn)
            self._young.add(turn)
            asyncio.get_running_loop().call_soon(self._take_turn, turn)

    def _take_turn(self, turn: _Turn) -> None:
        timer = asyncio.get_running_loop().call_later(PATIENCE, self._grow_old, turn)
        in_thread(self._read_some, turn).add_done_callback(partial(self._end_turn, turn, timer))

    def _grow_old(self, turn: _Turn) -> None:
        """It is at a large file, or at one that hangs."""
        self._young.discard(turn)
        turn.tell()
        self._start_turn()

    def _end_turn(self, turn: _Turn, timer: asyncio.TimerHandle, _: asyncio.Future[None]) -> None:
        timer.cancel()
        self._turns.discard(turn)
        self._young.discard(turn)
        turn.tell()
        self._start_turn()

    def _read_some(self, turn: _Turn) -> None:
        """The next ones that wait. On a thread, and on several at once."""
        while True:
            try:
                key, found = self._waiting.popleft()
            except IndexError:
                return
            try:
                turn.read.append((found, _read(f"{self._root}/{key}")))
            except Exception as error:
                turn.read.append((found, error))
            if time.monotonic() > turn.ends:
                return


def _settle(found: Found, data: bytes | Exception) -> None:
    if found.done():  # nobody waits for it any more
        return
    if isinstance(data, Exception):
        found.set_exception(data)
    else:
        found.set_result(data)


def _read(path: str) -> bytes:
    """With as few system calls as it takes, as each lets go of Python's global lock."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(descriptor, SMALL)
        if len(data) < SMALL:
            return data
        parts = [data]
        while part := os.read(descriptor, LARGE):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)
