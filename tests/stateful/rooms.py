"""How many tries a sender may begin, told in numbers that promises can count with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Self

MANY = 9


@dataclass
class Rooms:
    """An usher with room for so many tries `each` endpoint and of an `origin`."""

    each: int
    origin: int
    admitted: Counter[str] = field(default_factory=Counter)

    def fresh(self) -> Self:
        return type(self)(self.each, self.origin)

    def room(self, endpoint: str, origin: str) -> int:
        return min(self.each - self.admitted[endpoint], self.origin - self.admitted[origin])

    def admit(self, endpoint: str, origin: str) -> None:
        self.admitted.update((endpoint, origin))
