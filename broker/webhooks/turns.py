"""Turns at endpoints: no more tries are under way than an endpoint's lane is wide, first come, first served."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

TURN_SECONDS = 5.0


@dataclass(slots=True)
class Turns:
    """width: of an endpoint's lane, at present. seconds: after which none is waited for any longer."""

    width: Callable[[str], int]
    seconds: float = TURN_SECONDS
    _going: Counter[str] = field(default_factory=Counter)
    _waiting: defaultdict[str, deque[asyncio.Future[None]]] = field(default_factory=lambda: defaultdict(deque))

    async def take(self, endpoint: str) -> None:
        """To be followed by `give_back`. Raises TimeoutError where none comes in time, or none ever will."""
        if self._going[endpoint] < self.width(endpoint):
            self._going[endpoint] += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[endpoint].append(turn)
        try:
            async with asyncio.timeout(self.seconds):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and not turn.exception():  # it came at the last moment
                self.give_back(endpoint)
            raise

    def send_away(self, endpoint: str) -> None:
        """None of those that wait there has a turn any more."""
        for turn in self._waiting.pop(endpoint, ()):
            if not turn.done():
                turn.set_exception(TimeoutError())

    def send_all_away(self) -> None:
        """Of every endpoint."""
        for endpoint in list(self._waiting):
            self.send_away(endpoint)

    def give_back(self, endpoint: str) -> None:
        self._going[endpoint] -= 1
        waiting = self._waiting.get(endpoint, ())
        while waiting and self._going[endpoint] < self.width(endpoint):
            turn = waiting.popleft()
            if not turn.done():
                self._going[endpoint] += 1
                turn.set_result(None)
        if not waiting:
            self._waiting.pop(endpoint, None)
        if not self._going[endpoint]:
            del self._going[endpoint]
