"""The sides of a quadrilateral to a fraction of a pixel: straight lines through the steepest slopes near them.

Corners are where sides meet, because a card's own corners are round.
"""

from __future__ import annotations

import numpy as np

from handlers.vision.geometry import Lines, Points, line_through, meet, sides_of
from handlers.vision.pixels import Pixels
from handlers.vision.profile import peaks, steepness, straightest, strip_across, through

_ROUND = 0.07
"""Of a side's length, left out at both ends: the corner's arc takes 3 of 63 mm."""
_SAMPLES = 160


def refine(pixels: Pixels, quad: Points, reach: float) -> Points:
    """`quad` with each side moved to the straightest, steepest edge at most about `reach` pixels from it."""
    for step in (reach, max(2.5, min(reach / 3, 6.0))):
        sides = [_side(pixels, begin, end, step) for begin, end in sides_of(quad)]
        quad = np.array([meet(sides[k - 1], sides[k]) for k in range(4)])
    return quad


def _side(pixels: Pixels, begin: Points, end: Points, reach: float) -> Lines:
    points = begin + (end - begin) * np.linspace(_ROUND, 1 - _ROUND, _SAMPLES)[:, None]
    line = line_through(begin, end)
    step = max(reach / 24, 0.25)
    offsets = np.arange(-reach, reach + step / 2, step)
    slopes = steepness(strip_across(pixels, points, line[:2], offsets), step)
    half = max(float(np.median(slopes)), 0.5)
    course, _ = straightest((slopes / (slopes + half)).astype(np.float64), len(offsets) - 1)
    columns, weights = peaks(slopes, course, max(reach / 4, 1.0) / step)
    return through(points + (columns * step - reach)[:, None] * line[:2], weights, line)
