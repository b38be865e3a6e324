"""Ratios, pixels, offsets and grades, by the vendor's captured answer and the published tolerances."""

from __future__ import annotations

import pytest

from handlers.card_grader.centering import centering, grade
from handlers.card_grader.frame import Frame


def test_captured_answer_is_reproduced() -> None:
    """The vendor's own answer for a card of 1086 x 1509 pixels once straightened."""
    found = centering(Frame(56.9, 59.7, 58.1, 49.6), 1086, 1509)
    assert found == {
        "left/right": "49/51",
        "top/bottom": "55/45",
        "bound_box": [56, 59, 1028, 1460],
        "pixels": [56, 59, 58, 49],
        "offsets": [0.0524, 0.0396, 0.0535, 0.0329],
        "grade": 9.5,
    }


@pytest.mark.parametrize(
    ("share", "expected"),
    [(50, 10), (52, 10), (55, 9.5), (60, 9), (65, 8), (70, 7), (80, 6), (85, 5), (90, 3), (91, 1), (100, 1)],
)
def test_grade_follows_the_worse_direction(share: int, expected: float) -> None:
    assert grade(share, 50) == grade(100 - share, 50) == grade(50, share) == grade(50, 100 - share) == expected


def test_grade_never_rises_as_centering_gets_worse() -> None:
    grades = [grade(share, 50) for share in range(50, 101)]
    assert grades == sorted(grades, reverse=True)
    assert all(one * 2 == round(one * 2) and 1 <= one <= 10 for one in grades)
