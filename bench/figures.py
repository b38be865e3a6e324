"""What a bench found, beside what was aimed at, in the words of one table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.comparison import judge


@dataclass(frozen=True, slots=True)
class Figure:
    """One row. what: names the measurement and its unit. most: the target is a ceiling; else it is a floor.

    Without a target nothing is judged.
    """

    what: str
    measured: float
    target: float | None
    most: bool = False

    @property
    def bound(self) -> str:
        return "no target" if self.target is None else f"at {'most' if self.most else 'least'} {self.target:g}"

    @property
    def verdict(self) -> str:
        if self.target is None:
            return "-"
        return judge(self.measured <= self.target if self.most else self.measured >= self.target)


def rows(figures: Iterable[Figure]) -> Iterator[str]:
    """The table's lines: what, target, measured, ok or short, or - where there is no target."""
    for figure in figures:
        yield f"{figure.what:70}{figure.bound:>16}{figure.measured:>12.3g}  {figure.verdict}"
