"""From measured damage to grades 1..10 in halves: one table, and the means that Ximilar's answers show."""

from __future__ import annotations

import math
from collections.abc import Iterable

_HALVES = 18
"""Steps from 10 down to 1."""
CORNER, EDGE, SURFACE = (0.3, 1.32), (0.5, 1.36), (4.0, 1.35)
"""What a 10 may have at most, and how much more of it each half grade less allows.

Corners and edges in square millimetres that are whitened or gone; the surface in millimetres of scratches, with
print lines and dents counted as so many (see `findings`). The numbers are ours: grading companies publish words.
"""


def limits(part: tuple[float, float]) -> list[tuple[float, float]]:
    """The table: the most damage that still gets a grade, and that grade, from 10 to 1.5. More gets 1."""
    least, ratio = part
    return [(least * ratio**step, 10 - step / 2) for step in range(_HALVES)]


def grade(damage: float, part: tuple[float, float]) -> float:
    """1..10 in halves; never rises as damage grows."""
    return next((grade for most, grade in limits(part) if damage <= most), 1.0)


def mean(grades: Iterable[float]) -> float:
    """Geometric, rounded to halves, as Ximilar's captured answers are."""
    logarithms = [math.log(grade) for grade in grades]
    return halves(math.exp(sum(logarithms) / len(logarithms)))


def halves(grade: float) -> float:
    """Rounded to the nearest half, upwards in between."""
    return math.floor(grade * 2 + 0.5) / 2
