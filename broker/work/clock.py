"""The time that a handler may take: it passes while the handler works, not while all it does is wait for its turn."""

from __future__ import annotations

import asyncio
from enum import Enum, auto


class State(Enum):
    """What a clock's handler does."""

    WAITING = auto()
    WORKING = auto()
    LEFT = auto()


class Clock:
    """One handler's time limit. `over` is done once it is used up. For the event loop's thread only.

    A handler that runs others inside it has the outer clock, which rests while they all wait and none works.
    """

    def __init__(self, seconds: float, outer: Clock | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self._ends_in = seconds
        self._outer = outer
        self._inner: dict[State, int] = {}
        self._state = State.WAITING
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        if outer is not None:
            outer.inner_moved(None, self._state)

    @property
    def left(self) -> float:
        """Seconds that the handler may still work; no more than the outer one may."""
        own = self._ends_in
        if self._timer is not None:
            own -= self._loop.time() - self._since
        own = max(0.0, own)
        return own if self._outer is None else min(own, self._outer.left)

    def work(self) -> None:
        """The handler has begun. Without effect after `leave`."""
        self._enter(State.WORKING)

    def leave(self) -> None:
        """Nobody waits for the handler any more; `left` stays as it is."""
        self._enter(State.LEFT)

    def inner_moved(self, before: State | None, now: State) -> None:
        """The clock of a handler inside this one has begun to wait, to work, or was left."""
        if before is not None:
            self._inner[before] -= 1
        self._inner[now] = self._inner.get(now, 0) + 1
        waits = self._inner.get(State.WAITING, 0) > 0 and self._inner.get(State.WORKING, 0) == 0
        self._enter(State.WAITING if waits else State.WORKING)

    def _enter(self, state: State) -> None:
        if self._state in (state, State.LEFT):
            return
        if self._timer is not None:
            self._ends_in -= self._loop.time() - self._since
            self._timer.cancel()
            self._timer = None
        if state is State.WORKING and not self.over.done():
            self._since = self._loop.time()
            self._timer = self._loop.call_later(max(0.0, self._ends_in), self._ring)
        before, self._state = self._state, state
        if self._outer is not None:
            self._outer.inner_moved(before, state)

    def _ring(self) -> None:
        self._timer, self._ends_in = None, 0.0
        self.over.set_result(None)
