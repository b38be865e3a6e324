"""From damage to grades, from grades to words, and from two sides to one card."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest

from handlers.card_grader import scale
from handlers.card_grader.conditions import Mode, condition, in_words
from handlers.card_grader.sides import combine, side_of
from handlers.contract import Facts

GRADES = [step / 2 for step in range(20, 1, -1)]


def test_captured_grades_are_reproduced() -> None:
    """The vendor's own answer: corners, edges, all four parts, and the words for the last."""
    assert scale.mean([7.5, 3, 7.5, 8]) == 6
    assert scale.mean([8.5, 8.5, 8, 9]) == 8.5
    assert scale.mean([6, 8.5, 7, 9.5]) == 7.5
    assert in_words(7.5) == "Near Mint"


@pytest.mark.parametrize("part", [scale.CORNER, scale.EDGE, scale.SURFACE])
def test_grade_never_rises_as_damage_grows(part: tuple[float, float]) -> None:
    grades = [scale.grade(damage / 20, part) for damage in range(20_000)]
    assert grades == sorted(grades, reverse=True)
    assert set(grades) == set(GRADES), "every half grade is given"


@pytest.mark.parametrize("mode", get_args(Mode))
def test_condition_never_gets_better_as_grades_fall(mode: Mode) -> None:
    found = [condition(grade, mode) for grade in GRADES]
    values = [one["scale_value"] for one in found]
    assert values == sorted(values, reverse=True)
    assert values[0] == found[0]["max_scale_value"]
    assert values[-1] == 1
    if found[0]["max_scale_value"] < 10:
        assert set(values) == set(range(1, len(set(values)) + 1)), "every word is given"
        assert len(set(values)) == found[0]["max_scale_value"]
    labels = [one["label"] for one in found]
    assert len(set(labels)) == sum(one != other for one, other in pairwise(labels)) + 1


def test_psa_knows_no_nine_and_a_half() -> None:
    assert condition(9.5, "psa")["scale_value"] == 9
    assert condition(9.5, "bgs")["scale_value"] == 9.5


@pytest.mark.parametrize("told", [{}, {"Side": "Edge"}, {"Side": None}, {"Side": ["Front"]}])
def test_side_that_is_no_side_is_none(told: dict[str, object]) -> None:
    assert side_of(told) is None


def record(final: float, side: str | None = None, centering: float | None = 9.0) -> Facts:
    parts = dict.fromkeys(("corners", "edges", "surface", "final"), final)
    tag = {"name": side or "Front", "prob": 1.0 if side else 0.5, "id": ""}
    return {"grades": {**parts, "centering": centering}, "card": [{"_tags": {"Side": [tag]}}]}


@pytest.mark.parametrize(
    ("records", "final"),
    [
        ([record(9, "Front"), record(4, "Back")], 7.5),
        ([record(4, "Back"), record(9, "Front")], 7.5),
        ([record(9), record(4)], 7.5),
        ([record(4, "Back"), record(9)], 7.5),
        ([record(9), record(4, "Front")], 5.5),
    ],
)
def test_front_counts_seventy_in_a_hundred(records: list[Facts], final: float) -> None:
    """0.7 x 9 + 0.3 x 4 = 7.5; a side that is told decides over the order."""
    assert combine(records)["grades"]["final"] == final
    assert combine(records)["grades"]["condition"] == in_words(final)


def test_side_without_a_border_leaves_centering_to_the_other() -> None:
    grades = combine([record(9, "Front", None), record(8, "Back", 6.0)])["grades"]
    assert grades["centering"] == 6
    assert combine([record(9, "Front", None), record(8, "Back", None)])["grades"]["centering"] is None


@pytest.mark.parametrize(
    "records",
    [
        [],
        [record(9)],
        [record(9), record(9), record(9)],
        [record(9, "Front"), record(8, "Front")],
        [record(9), {}],
        [record(9), {"grades": {"centering": 9.0}, "card": [{}]}],
    ],
)
def test_nothing_to_combine(records: list[Facts]) -> None:
    assert combine(records) == {}
