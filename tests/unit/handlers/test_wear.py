"""Damage of known amount, by both renderers, and how it grows into grades. `bench.grader` measures more."""

from __future__ import annotations

import pytest

from bench.grader import RENDERERS
from bench.worn import KINDS, graded, growth, spreads

SEEDS = {"painted": 608, "drawn": 608}
"""Of a card with a coloured border on a ground that shows its wear."""
DRAWN_TOO = ("corner", "chips", "scratches")
"""First words of the kinds that are also looked at in the second renderer's pictures, which take long."""


@pytest.mark.parametrize(
    ("renderer", "kind"),
    [*(("painted", kind) for kind in KINDS), *(("drawn", kind) for kind in KINDS if kind.split()[0] in DRAWN_TOO)],
)
def test_damage_grows_into_its_grade(renderer: str, kind: str) -> None:
    amounts = KINDS[kind][1][::2]
    result = growth(RENDERERS[renderer], kind, [SEEDS[renderer]], amounts)
    (grades,) = result.grades
    assert list(grades) == sorted(grades, reverse=True)
    assert grades[0] >= 9
    assert grades[0] - grades[-1] >= 1.5


@pytest.mark.parametrize("renderer", RENDERERS)
def test_print_is_not_damage(renderer: str) -> None:
    """Unharmed cards of any art and ground: their corners, edges and surface stay near 10."""
    found = [graded(RENDERERS[renderer](seed)) for seed in range(620, 625)]
    grades = [one for one in found if one is not None]
    assert len(grades) >= 4
    worst = [min(one["corners"], one["edges"], one["surface"]) for one in grades]
    assert sum(grade >= 9 for grade in worst) >= len(worst) - 1, worst
    assert min(worst) >= 7


def test_photographs_of_one_card_are_graded_alike() -> None:
    assert max(spreads(RENDERERS["drawn"], [4], photographs=4)) <= 1


def test_corner_that_is_barer_than_the_art_is_looked_at_deep() -> None:
    """Of a card without a printed border: 2 mm of paper hide all art that the paper could be told from."""
    (grades,) = growth(RENDERERS["painted"], "corner whitening, mm", [10_002]).grades
    assert list(grades) == sorted(grades, reverse=True)
    assert grades[-1] <= 5
