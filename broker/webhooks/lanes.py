"""How many tries a process makes at once: in all, of one origin, of one endpoint, of one workspace.

An endpoint begins with one try at a time and has twice as many after each answer, so that one that hangs never has
many, half as many after one that says that it is busy, and fewer the longer its answers take; those that have not
proven themselves share half of the slots, in all and of an origin, so that no number of them takes them all. Of each of
these a workspace has half of what the others leave, so that one more always finds some, whatever is slow elsewhere.
More wait for their turn where an endpoint answers quickly: they have places of their own, and no slots.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self, TypeAlias, TypeVar

from broker.deliveries import BUSY

SLOTS = 512
ORIGIN_SLOTS = 128
PLACES = 512
"""Of those that wait for their turn."""
UNPROVEN = 0.5
"""The share of either that endpoints may take whose latest try had no answer, or whose lane is 1 wide for another."""
WIDEST = 16
AHEAD, FURTHEST = 3 * WIDEST, 15 * WIDEST
"""Tries that may wait in this process for their turn at an endpoint whose lane is as wide as any, which is to say that
its answers come within a second: at least, and at most where several of them in a row came so quickly that the last
waits for a second."""
REMEMBERED = 5000

K = TypeVar("K")
Pool: TypeAlias = tuple[str, bool]
"""Slots that many share: of an origin, "" for all, and whether they are for unproven endpoints only."""
WAITING: Pool = ("waiting", False)  # no origin is spelt so


class Lane(NamedTuple):
    """width: how many tries an endpoint has at once. ahead: how many more may wait for their turn."""

    width: int = 1
    ahead: int = 0


NARROW = Lane()


@dataclass(slots=True)
class Usher:
    """The lanes as they stood when a claim was made; counts what that claim admits.

    tries: by endpoint, those that wait among them. taken: by pool. own: by pool and workspace.
    """

    lanes: Mapping[str, Lane]
    tries: Counter[str] = field(default_factory=Counter)
    taken: Counter[Pool] = field(default_factory=Counter)
    own: Counter[tuple[Pool, str]] = field(default_factory=Counter)

    def fresh(self) -> Self:
        return type(self)(self.lanes, self.tries.copy(), self.taken.copy(), self.own.copy())

    def room(self, endpoint: str, origin: str, workspace: str) -> int:
        wanted = WIDEST - self._at_once(endpoint)
        slots = min(self._share(pool, size, workspace) for pool, size in self._pools(endpoint, origin))
        if slots >= wanted:  # the others would wait
            slots = wanted + max(self._share(WAITING, PLACES, workspace), 0)
        return min(sum(self._lane(endpoint)) - self.tries[endpoint], slots)

    def admit(self, endpoint: str, origin: str, workspace: str) -> None:
        self.count(endpoint, origin, workspace, 1)

    def count(self, endpoint: str, origin: str, workspace: str, tries: int) -> None:
        """So many more, or fewer."""
        before = self._at_once(endpoint)
        _add(self.tries, endpoint, tries)
        at_once = self._at_once(endpoint) - before
        self._take(WAITING, workspace, tries - at_once)
        for pool, _ in self._pools(endpoint, origin):
            self._take(pool, workspace, at_once)

    def _take(self, pool: Pool, workspace: str, count: int) -> None:
        _add(self.taken, pool, count)
        _add(self.own, (pool, workspace), count)

    def _at_once(self, endpoint: str) -> int:
        """At most so many of an endpoint's tries are under way: also where its lane was wider when they began."""
        return min(self.tries[endpoint], WIDEST)

    def _share(self, pool: Pool, size: int, workspace: str) -> int:
        """Below zero once others have come to more since."""
        own = self.own[pool, workspace]
        left = size - self.taken[pool] + own
        return (left + 1) // 2 - own

    def _pools(self, endpoint: str, origin: str) -> Iterator[tuple[Pool, int]]:
        """Each with its slots."""
        yield ("", False), SLOTS
        yield (origin, False), ORIGIN_SLOTS
        if self._lane(endpoint).width == 1:
            yield ("", True), int(UNPROVEN * SLOTS)
            yield (origin, True), int(UNPROVEN * ORIGIN_SLOTS)

    def _lane(self, endpoint: str) -> Lane:
        return self.lanes.get(endpoint, NARROW)


@dataclass(slots=True)
class Lanes:
    """What this process sends, and how wide each endpoint's lane is: 1, or as many as its answers have earned it."""

    _lanes: dict[str, Lane] = field(default_factory=dict)
    _now: Usher = field(init=False)

    def __post_init__(self) -> None:
        self._now = Usher(self._lanes)

    @property
    def free(self) -> int:
        """Slots of the process."""
        return SLOTS - self._now.taken["", False]

    def usher(self) -> Usher:
        return replace(self._now.fresh(), lanes=self._lanes.copy())

    def offer(self, endpoint: str, origin: str, workspace: str) -> bool:
        """Whether a try that nobody has claimed may begin; if so, it has begun.

        Half of the slots are left to claims.
        """
        if self.free <= SLOTS // 2 or self._now.room(endpoint, origin, workspace) < 1:
            return False
        self.begin(endpoint, origin, workspace)
        return True

    def width(self, endpoint: str) -> int:
        return self._lanes.get(endpoint, NARROW).width

    def begin(self, endpoint: str, origin: str, workspace: str) -> None:
        self._now.admit(endpoint, origin, workspace)

    def withdraw(self, endpoint: str, origin: str, workspace: str) -> None:
        """It did not begin after all."""
        self._now.count(endpoint, origin, workspace, -1)

    def found_no_turn(self, endpoint: str, origin: str, workspace: str) -> None:
        """It waited in vain and did not begin: none waits there any more until the endpoint answers."""
        self.withdraw(endpoint, origin, workspace)
        if endpoint in self._lanes:
            self._lanes[endpoint] = Lane(self._lanes[endpoint].width)

    def end(self, endpoint: str, origin: str, workspace: str, answer: tuple[int, float] | None) -> None:
        """answer: its HTTP status, and after how many seconds it came; None for no answer."""
        lane = self._lanes.get(endpoint, NARROW)
        following = NARROW if answer is None else _lane_after(lane, *answer)
        alike = (lane.width == 1) is (following.width == 1)
        ended = 1 if alike else self._now.tries[endpoint]  # the others as well, as they count otherwise from now on
        self._now.count(endpoint, origin, workspace, -ended)
        self._lanes.pop(endpoint, None)  # at the end of the dictionary: used last
        if answer is not None:
            self._lanes[endpoint] = following
        if ended > 1:
            self._now.count(endpoint, origin, workspace, ended - 1)
        if len(self._lanes) > REMEMBERED:
            del self._lanes[next(id for id in self._lanes if id not in self._now.tries)]


def _lane_after(lane: Lane, status_code: int, seconds: float) -> Lane:
    earned = lane.width // 2 if status_code in BUSY else 2 * lane.width
    width = max(1, min(earned, WIDEST, int(WIDEST / max(seconds, 1.0))))
    if width < WIDEST:
        return Lane(width)
    in_a_second = int(WIDEST / max(seconds, 0.001)) - WIDEST
    return Lane(width, max(AHEAD, min(2 * lane.ahead, in_a_second, FURTHEST)))


def _add(counter: Counter[K], key: K, count: int) -> None:
    counter[key] += count
    if not counter[key]:
        del counter[key]
