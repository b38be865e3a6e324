"""How many tries a process makes at once: in all, of one origin, of one endpoint, of one workspace.

An endpoint begins with one try at a time and has twice as many after each answer, so that one that hangs never has
many, half as many after one that says that it is busy, and fewer the longer its answers take; those that have not
proven themselves share half of the slots, in all and of an origin, so that no number of them takes them all. Of each of
these a workspace has half of what the others leave, so that one more always finds some, whatever is slow elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Self, TypeAlias, TypeVar

from broker.deliveries import BUSY

SLOTS = 512
ORIGIN_SLOTS = 128
UNPROVEN = 0.5
"""The share of either that endpoints may take whose latest try had no answer, or whose lane is 1 wide for another."""
WIDEST = 16
AHEAD = 3 * WIDEST
"""Tries that may wait in this process for their turn at an endpoint whose lane is as wide as any, which is to say that
its answers come within a second."""
REMEMBERED = 5000

K = TypeVar("K")
Pool: TypeAlias = tuple[str, bool]
"""Slots that many share: of an origin, "" for all, and whether they are for unproven endpoints only."""


@dataclass(slots=True)
class Usher:
    """The lanes as they stood when a claim was made; counts what that claim admits.

    tries: by endpoint. taken: by pool. own: by pool and workspace.
    """

    widths: Mapping[str, int]
    tries: Counter[str] = field(default_factory=Counter)
    taken: Counter[Pool] = field(default_factory=Counter)
    own: Counter[tuple[Pool, str]] = field(default_factory=Counter)

    def fresh(self) -> Self:
        return type(self)(self.widths, self.tries.copy(), self.taken.copy(), self.own.copy())

    def room(self, endpoint: str, origin: str, workspace: str) -> int:
        shares = (self._share(pool, size, workspace) for pool, size in self._pools(endpoint, origin))
        width = self._width(endpoint)
        return min((width + AHEAD if width == WIDEST else width) - self.tries[endpoint], *shares)

    def admit(self, endpoint: str, origin: str, workspace: str) -> None:
        self.count(endpoint, origin, workspace, 1)

    def count(self, endpoint: str, origin: str, workspace: str, tries: int) -> None:
        """So many more, or fewer."""
        _add(self.tries, endpoint, tries)
        for pool, _ in self._pools(endpoint, origin):
            _add(self.taken, pool, tries)
            _add(self.own, (pool, workspace), tries)

    def _share(self, pool: Pool, size: int, workspace: str) -> int:
        """Below zero once others have come to more since."""
        own = self.own[pool, workspace]
        left = size - self.taken[pool] + own
        return (left + 1) // 2 - own

    def _pools(self, endpoint: str, origin: str) -> Iterator[tuple[Pool, int]]:
        """Each with its slots."""
        yield ("", False), SLOTS
        yield (origin, False), ORIGIN_SLOTS
        if self._width(endpoint) == 1:
            yield ("", True), int(UNPROVEN * SLOTS)
            yield (origin, True), int(UNPROVEN * ORIGIN_SLOTS)

    def _width(self, endpoint: str) -> int:
        return self.widths.get(endpoint, 1)


@dataclass(slots=True)
class Lanes:
    """What this process sends, and how wide each endpoint's lane is: 1, or as many as its answers have earned it."""

    _widths: dict[str, int] = field(default_factory=dict)
    _now: Usher = field(init=False)

    def __post_init__(self) -> None:
        self._now = Usher(self._widths)

    @property
    def free(self) -> int:
        """Slots of the process."""
        return SLOTS - self._now.tries.total()

    def usher(self) -> Usher:
        return replace(self._now.fresh(), widths=self._widths.copy())

    def offer(self, endpoint: str, origin: str, workspace: str) -> bool:
        """Whether a try that nobody has claimed may begin; if so, it has begun.

        Half of the slots are left to claims.
        """
        if self.free <= SLOTS // 2 or self._now.room(endpoint, origin, workspace) < 1:
            return False
        self.begin(endpoint, origin, workspace)
        return True

    def width(self, endpoint: str) -> int:
        return self._widths.get(endpoint, 1)

    def begin(self, endpoint: str, origin: str, workspace: str) -> None:
        self._now.admit(endpoint, origin, workspace)

    def withdraw(self, endpoint: str, origin: str, workspace: str) -> None:
        """It did not begin after all."""
        self._now.count(endpoint, origin, workspace, -1)

    def end(self, endpoint: str, origin: str, workspace: str, answer: tuple[int, float] | None) -> None:
        """answer: its HTTP status, and after how many seconds it came; None for no answer."""
        tries = self._now.tries[endpoint]
        self._now.count(endpoint, origin, workspace, -tries)  # all of them, as the others may count otherwise now
        width = self._widths.pop(endpoint, 1)  # at the end of the dictionary: used last
        if answer is not None:
            self._widths[endpoint] = _width_after(width, *answer)
        self._now.count(endpoint, origin, workspace, tries - 1)
        if len(self._widths) > REMEMBERED:
            del self._widths[next(id for id in self._widths if id not in self._now.tries)]


def _width_after(width: int, status_code: int, seconds: float) -> int:
    earned = width // 2 if status_code in BUSY else 2 * width
    return max(1, min(earned, WIDEST, int(WIDEST / max(seconds, 1.0))))


def _add(counter: Counter[K], key: K, count: int) -> None:
    counter[key] += count
    if not counter[key]:
        del counter[key]
