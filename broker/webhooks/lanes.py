"""How many tries a process makes at once: in all, of one origin, of one endpoint.

An endpoint begins with one try at a time and has twice as many after each answer, so that one that hangs never has
many; and those that have not proven themselves share a part of the slots, so that no number of them takes them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

SLOTS = 256
UNPROVEN_SLOTS = 128
ORIGIN_SLOTS = 64
WIDEST = 16
REMEMBERED = 5000


@dataclass(slots=True)
class Usher:
    """The lanes as they stood when a claim was made; counts what that claim admits."""

    widths: Mapping[str, int]
    sending: Counter[str]
    origins: Counter[str]
    unproven: int

    def fresh(self) -> Self:
        return type(self)(self.widths, self.sending.copy(), self.origins.copy(), self.unproven)

    def room(self, endpoint: str, origin: str) -> int:
        width = self.widths.get(endpoint, 1)
        room = min(width - self.sending[endpoint], ORIGIN_SLOTS - self.origins[origin])
        return min(room, UNPROVEN_SLOTS - self.unproven) if width == 1 else room

    def admit(self, endpoint: str, origin: str) -> None:
        self.sending[endpoint] += 1
        self.origins[origin] += 1
        self.unproven += self.widths.get(endpoint, 1) == 1


@dataclass(slots=True)
class Lanes:
    """What this process sends, and how wide each endpoint's lane is: 1, or as many as its answers have earned it."""

    _widths: dict[str, int] = field(default_factory=dict)
    _sending: Counter[str] = field(default_factory=Counter)
    _origins: Counter[str] = field(default_factory=Counter)

    @property
    def free(self) -> int:
        """Slots of the process."""
        return SLOTS - self._sending.total()

    def usher(self) -> Usher:
        unproven = sum(count for endpoint, count in self._sending.items() if self._widths.get(endpoint, 1) == 1)
        return Usher(dict(self._widths), self._sending.copy(), self._origins.copy(), unproven)

    def begin(self, endpoint: str, origin: str) -> None:
        self._sending[endpoint] += 1
        self._origins[origin] += 1

    def end(self, endpoint: str, origin: str, *, answered: bool) -> None:
        """answered: within the time limit, whatever was said."""
        _take_one(self._sending, endpoint)
        _take_one(self._origins, origin)
        width = self._widths.pop(endpoint, 1)  # at the end of the dictionary: used last
        if answered:
            self._widths[endpoint] = min(2 * width, WIDEST)
        if len(self._widths) > REMEMBERED:
            del self._widths[next(iter(self._widths))]


def _take_one(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
