"""How damage of known amount grows into grades, and how much one card's grades differ from photograph to photograph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Protocol

import numpy as np

from bench.cards.damage import UNHARMED, Damage
from bench.cards.truth import HEIGHT, WIDTH, Rendered
from bench.figures import Figure
from handlers.card_grader.findings import judge
from handlers.card_grader.handler import grades_of
from handlers.card_grader.views import Views
from handlers.contract import Facts, RecordError
from handlers.vision import find_card

FOUND = 10.0
"""Pixels at 1,000 that every corner of a card that counts as found is within."""


class Render(Protocol):
    """One of the two renderers."""

    def __call__(self, seed: int, *, card: int | None = None, damage: Damage = UNHARMED) -> Rendered: ...


def _all(amount: float) -> tuple[float, float, float, float]:
    return (amount, amount, amount, amount)


KINDS: Mapping[str, tuple[str, Sequence[float], Callable[[float], Damage]]] = {
    "corner whitening, mm": ("corners", (0, 0.5, 1, 1.5, 2), lambda amount: Damage(whitening=_all(amount))),
    "corner rounding, mm": ("corners", (0, 0.5, 1, 1.5, 2), lambda amount: Damage(rounding=_all(amount))),
    "edge whitening, mm": ("edges", (0, 0.2, 0.4, 0.6, 0.8), lambda amount: Damage(rubbed=_all(amount))),
    "chips an edge": ("edges", (0, 1, 2, 4, 7), lambda amount: Damage(chips=_all(amount))),
    "depth of 3 chips, mm": (
        "edges",
        (0, 0.3, 0.6, 0.9, 1.2),
        lambda amount: Damage(chips=_all(3 if amount else 0), chip_depth=amount),
    ),
    "scratches": ("surface", (0, 1, 3, 6, 12), lambda amount: Damage(scratches=int(amount))),
    "dents": ("surface", (0, 1, 3, 6, 12), lambda amount: Damage(dents=int(amount))),
    "print lines": ("surface", (0, 1, 3, 6, 12), lambda amount: Damage(print_lines=int(amount))),
}
"""Kind -> the part whose grade it harms, its amounts, and the damage of an amount."""


@dataclass
class Growth:
    """grades: by amount, of each card."""

    amounts: Sequence[float]
    grades: list[Sequence[float]] = field(default_factory=list)

    @property
    def means(self) -> list[float]:
        """By amount, over cards."""
        return [fmean(column) for column in zip(*self.grades, strict=True)]

    @property
    def worst_rise(self) -> float:
        """Of the mean grade, from one amount to the next larger one."""
        return float(np.diff(self.means).max())

    @property
    def rising(self) -> float:
        """Percent of all steps of all cards at which the grade rose by more than a half."""
        return 100 * float((np.diff(np.array(self.grades), axis=1) > 0.5).mean())


def graded_where_it_is(picture: Rendered) -> Facts:
    """`grades` as the handler computes them of a card that is found exactly."""
    views = Views(picture.pixels, picture.points - 0.5, WIDTH / HEIGHT)
    return grades_of(views, judge(views))


def graded(picture: Rendered) -> Facts | None:
    """`grades` as the handler computes them; None if the card was not found where it is."""
    try:
        points = find_card(picture.pixels, WIDTH / HEIGHT).points
    except RecordError:
        return None
    if picture.corner_errors(points + 0.5).max() > FOUND:
        return None
    views = Views(picture.pixels, points, WIDTH / HEIGHT)
    return grades_of(views, judge(views))


def growth(render: Render, kind: str, seeds: Iterable[int], amounts: Sequence[float] = ()) -> Growth:
    """A card and a scene for each seed. Cards are taken to be found: how strong wear hides them is the finder's matter.

    amounts: others than those of `KINDS`.
    """
    part, usual, damage = KINDS[kind]
    amounts = amounts or usual
    result = Growth(amounts)
    for seed in seeds:
        shown = (render(seed, card=seed, damage=damage(amount)) for amount in amounts)
        result.grades.append([graded_where_it_is(picture)[part] for picture in shown])
    return result


def spreads(render: Render, cards: Iterable[int], photographs: int = 10) -> list[float]:
    """For each card, worn at random, how far the final grades of its photographs lie apart."""
    found = []
    for card in cards:
        scenes = range(1000 * card, 1000 * card + photographs)
        grades = [graded(render(scene, card=card, damage=any_damage(card))) for scene in scenes]
        finals = [one["final"] for one in grades if one is not None]
        if len(finals) > 1:
            found.append(max(finals) - min(finals))
    return found


def any_damage(seed: int) -> Damage:
    """Some wear of most kinds, from hardly any to much."""
    random = np.random.default_rng([seed, 2])
    much = float(random.uniform(0, 1))

    def four(most: float) -> tuple[float, float, float, float]:
        one, two, three, four = random.uniform(0, most * much, 4) * (random.random(4) < 0.7)
        return float(one), float(two), float(three), float(four)

    chips = tuple(float(round(count)) for count in four(4))
    return Damage(
        whitening=four(2.0),
        rounding=four(1.5),
        rubbed=four(0.6),
        chips=(chips[0], chips[1], chips[2], chips[3]),
        scratches=int(random.integers(0, 5) * much),
        dents=int(random.integers(0, 4) * much),
    )


def figures(name: str, render: Render, cards: Sequence[int], spread: Sequence[int]) -> Iterator[Figure]:
    """Rows beside their targets; the means by amount are printed on the way."""
    for kind in KINDS:
        result = growth(render, kind, cards)
        course = ", ".join(f"{amount:g}: {mean:.1f}" for amount, mean in zip(result.amounts, result.means, strict=True))
        print(f"{name}: {kind} -> mean grade of {len(result.grades)} cards   {course}", flush=True)
        yield Figure(f"{name}: {kind}: greatest rise of the mean grade", result.worst_rise, 0, most=True)
        yield Figure(f"{name}: {kind}: steps at which a card's grade rose (%)", result.rising, 5, most=True)
        yield Figure(f"{name}: {kind}: what the most of it costs, grades", result.means[0] - result.means[-1], 2)
    found = spreads(render, spread)
    within = 100 * float(np.mean(np.array(found) <= 0.5))
    yield Figure(f"{name}: cards whose ten photographs differ by half a grade at most (%)", within, 90)
    yield Figure(f"{name}: the most that a card's ten photographs differ", max(found), 1, most=True)
