"""What a bench found, beside what was aimed at, in the words of one table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.comparison import judge


@dataclass(frozen=True, slots=True)
class Figure:
    """One row. what: names the measurement and its unit. most: the target is a ceiling; else it is a floor."""

    what: str
    measured: float
    target: float
    most: bool = False

    @property
    def reached(self) -> bool:
        return self.measured <= self.target if self.most else self.measured >= self.target


def rows(figures: Iterable[Figure]) -> Iterator[str]:
    """The table's lines: what, target, measured, ok or short."""
    for figure in figures:
        bound = f"at {'most' if figure.most else 'least'} {figure.target:g}"
        yield f"{figure.what:70}{bound:>16}{figure.measured:>12.3g}  {judge(figure.reached)}"
