"""Around an outline: the same with its sides moved to the straight edges near them, and the best of those."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from handlers.vision.geometry import Lines, Points, area, line_through, meet, sides_of, upright_first
from handlers.vision.gradients import Gradients
from handlers.vision.outline import frames, scores
from handlers.vision.profile import courses

_LARGER = 0.2
"""Power of the area that the score is multiplied by: of frames in frames, the outer one."""
_ROUNDS = 2
"""Times that the search goes on from the best outline found."""
_LIKELY = 1000
"""Outlines around one whose corners are looked at, by their sides."""
_CHOICES = 6
"""Lines tried for each side."""


def improve(gradients: Gradients, quad: Points, aspect: float) -> Points:
    """The best outline around one, and around that in turn."""
    for _ in range(_ROUNDS):
        quad, _ = improved_once(gradients, quad, aspect)
    return quad


def improved_once(gradients: Gradients, quad: Points, aspect: float) -> tuple[Points, float]:
    """The best of the outlines around one, and its rank."""
    around = upright_first(_varied(gradients, quad), aspect)
    # Corners cost as much to look at as sides do, and those of an outline with poor sides make it no better.
    likely = np.argsort(-ranks_of(around, frames(gradients, around, aspect)), kind="stable")[:_LIKELY]
    around = around[likely]
    ranks = ranks_of(around, scores(gradients, around, aspect))
    place = int(np.argmax(ranks))
    return around[place], float(ranks[place])


def ranks_of(quads: Points, found: NDArray[np.float64]) -> NDArray[np.float64]:
    """What outlines with these scores are chosen by."""
    return np.asarray(found * np.abs(area(quads)) ** _LARGER)


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
