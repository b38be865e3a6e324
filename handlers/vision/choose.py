"""Which of several likely outlines is the card's own: not its printed frame, its sleeve, or a pattern of the ground."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from handlers.vision.geometry import Lines, Points, area, line_through, meet, sides_of
from handlers.vision.gradients import Gradients
from handlers.vision.outline import scores
from handlers.vision.profile import courses

_ENOUGH = 0.27
"""Score from which on an outline is believed."""
_LARGER = 0.2
"""Power of the area that the score is multiplied by: of frames in frames, the outer one."""
_STARTS = 2
"""Outlines whose surroundings are searched."""
_ROUNDS = 2
"""Times that the search goes on from the best outline found."""
_DIFFERENT = 6.0
"""Pixels between corners of outlines that are searched apart."""
_CHOICES = 6
"""Lines tried for each side."""
_AS_GOOD = 0.75
"""Share of the best score that makes another card of an outline elsewhere."""


@dataclass(frozen=True)
class Chosen:
    """points: 4 x 2, clockwise from the card's upper left. score: 0..1. others: how many more cards there are."""

    points: Points
    score: float
    others: int


def choose(gradients: Gradients, quads: Points, aspect: float) -> Chosen | None:
    """The best of n x 4 x 2 outlines that is good enough, each side moved to where it fits best."""
    upright = upright_first(quads, aspect)
    found = scores(gradients, upright, aspect)
    best, rank = None, 0.0
    for start in _starts(upright, found):
        better, reached = start, 0.0
        for _ in range(_ROUNDS):
            better, reached = _improved(gradients, better, aspect)
        if reached > rank:
            best, rank = better, reached
    if best is None:
        return None
    best_score = float(scores(gradients, best[None], aspect)[0])
    if best_score < _ENOUGH:
        return None
    good = upright[found > _AS_GOOD * best_score]
    elsewhere = [one for one in _apart(good, np.ones(len(good))) if not _overlap(one, best)]
    similar = [one for one in elsewhere if area(one) > 0.4 * area(best)]
    return Chosen(best, best_score, len(similar))


def _ranks(quads: Points, found: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(found * np.abs(area(quads)) ** _LARGER)


def _starts(quads: Points, found: NDArray[np.float64]) -> list[Points]:
    """The best few outlines that differ by more than a few pixels."""
    kept: list[Points] = []
    for place in np.argsort(-_ranks(quads, found), kind="stable"):
        if all(np.abs(quads[place] - one).max() > _DIFFERENT for one in kept):
            kept.append(quads[place])
        if len(kept) == _STARTS:
            break
    return kept


def _improved(gradients: Gradients, quad: Points, aspect: float) -> tuple[Points, float]:
    """The best of the outlines around one, and its rank."""
    around = upright_first(_varied(gradients, quad), aspect)
    ranks = _ranks(around, scores(gradients, around, aspect))
    place = int(np.argmax(ranks))
    return around[place], float(ranks[place])


def upright_first(quads: Points, aspect: float) -> Points:
    """n x 4 x 2 clockwise corners, begun so that the sides fit the aspect and the card's top lies above its bottom."""
    lengths = np.linalg.norm(np.roll(quads, -1, axis=1) - quads, axis=2)
    ratio = np.log((lengths[:, 0] + lengths[:, 2]) / np.maximum(lengths[:, 1] + lengths[:, 3], 1e-9))
    lying = np.abs(ratio - np.log(aspect)) > np.abs(ratio + np.log(aspect))
    quads = np.where(lying[:, None, None], np.roll(quads, -1, axis=1), quads)
    down = (quads[:, 2] + quads[:, 3] - quads[:, 0] - quads[:, 1])[:, 1] < 0
    return np.where(down[:, None, None], np.roll(quads, 2, axis=1), quads)


def _apart(quads: Points, found: NDArray[np.float64]) -> list[Points]:
    """Best first, without those that lie on a better one's place."""
    kept: list[Points] = []
    for place in np.argsort(-found, kind="stable"):
        if not any(_overlap(quads[place], one) for one in kept):
            kept.append(quads[place])
    return kept


def _overlap(one: Points, other: Points) -> bool:
    """Whether one's middle lies in the other."""
    return _within(one.mean(axis=0), other) or _within(other.mean(axis=0), one)


def _within(point: Points, quad: Points) -> bool:
    along, towards = np.roll(quad, -1, axis=0) - quad, point - quad
    return bool((along[:, 0] * towards[:, 1] - along[:, 1] * towards[:, 0] > 0).all())


def _varied(gradients: Gradients, quad: Points) -> Points:
    """The outline, and all that arise from it by moving its sides to nearby straight edges."""
    choices = [[line_through(begin, end), *_near(gradients, quad, begin, end)] for begin, end in sides_of(quad)]
    places = np.array(list(product(*(range(len(one)) for one in choices))))
    sides = [np.array(choices[k])[places[:, k]] for k in range(4)]
    return np.stack([meet(sides[k - 1], sides[k]) for k in range(4)], axis=1)


def _near(gradients: Gradients, quad: Points, begin: Points, end: Points) -> list[Lines]:
    """The best straight edges beside a side, at most a sixth of the card's size outwards and half that inwards."""
    depth = float(np.sqrt(area(quad)))
    # The normal of a side points outwards, because the corners run clockwise.
    normal = line_through(begin, end)[:2]
    offsets = np.arange(-0.09 * depth, 0.16 * depth)
    along = np.linspace(0.06, 0.94, 56)
    points = (begin + (end - begin) * along[:, None])[:, None] + offsets[None, :, None] * normal
    support = gradients.support(points, np.broadcast_to(normal, points.shape))
    gathered, tilts = courses(support, max(2, round(0.03 * depth)))
    found: list[Lines] = []
    taken: list[float] = []
    for place in np.argsort(-gathered, axis=None, kind="stable"):
        column, tilt = np.unravel_index(place, gathered.shape)
        if any(abs(offsets[column] - one) < 2 for one in taken):
            continue
        taken.append(float(offsets[column]))
        ends = offsets[column] + np.array([-1, 1]) * tilts[tilt] / 2
        found.append(line_through(begin + ends[0] * normal, end + ends[1] * normal))
        if len(found) == _CHOICES:
            break
    return found
