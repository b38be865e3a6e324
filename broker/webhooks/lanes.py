"""How many tries a process makes at once: in all, of one origin, of one endpoint.

An endpoint begins with one try at a time and has twice as many after each answer, so that one that hangs never has
many, and fewer the longer its answers take; those that have not proven themselves share half of the slots, in all and
of an origin, so that no number of them takes them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

SLOTS = 256
ORIGIN_SLOTS = 64
UNPROVEN = 0.5
"""The share of either that endpoints may take whose latest try had no answer, or one that took very long."""
WIDEST = 16
REMEMBERED = 5000


@dataclass(slots=True)
class Usher:
    """The lanes as they stood when a claim was made; counts what that claim admits. unproven: tries by origin."""

    widths: Mapping[str, int]
    tries: Counter[str] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)
    unproven: Counter[str] = field(default_factory=Counter)

    def fresh(self) -> Self:
        return type(self)(self.widths, self.tries.copy(), self.origins.copy(), self.unproven.copy())

    def room(self, endpoint: str, origin: str) -> int:
        width = self._width(endpoint)
        room = min(width - self.tries[endpoint], ORIGIN_SLOTS - self.origins[origin])
        if width > 1:
            return room
        unproven = int(UNPROVEN * SLOTS) - self.unproven.total(), int(UNPROVEN * ORIGIN_SLOTS) - self.unproven[origin]
        return min(room, *unproven)

    def admit(self, endpoint: str, origin: str) -> None:
        self.tries[endpoint] += 1
        self.origins[origin] += 1
        if self._width(endpoint) == 1:
            self.unproven[origin] += 1

    def _width(self, endpoint: str) -> int:
        return self.widths.get(endpoint, 1)


@dataclass(slots=True)
class Lanes:
    """What this process sends, and how wide each endpoint's lane is: 1, or as many as its answers have earned it."""

    _widths: dict[str, int] = field(default_factory=dict)
    _tries: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def free(self) -> int:
        """Slots of the process."""
        return SLOTS - self._tries.total()

    def usher(self) -> Usher:
        usher = Usher(dict(self._widths))
        for endpoint, origin in self._tries.elements():
            usher.admit(endpoint, origin)
        return usher

    def begin(self, endpoint: str, origin: str) -> None:
        self._tries[endpoint, origin] += 1

    def end(self, endpoint: str, origin: str, answered: float | None) -> None:
        """answered: after how many seconds, whatever was said; None for no answer."""
        self._tries[endpoint, origin] -= 1
        self._tries += Counter()  # keeps what is above zero
        width = self._widths.pop(endpoint, 1)  # at the end of the dictionary: used last
        if answered is not None:
            self._widths[endpoint] = max(1, min(2 * width, WIDEST, int(WIDEST / max(answered, 1.0))))
        if len(self._widths) > REMEMBERED:
            del self._widths[next(iter(self._widths))]
