"""From a shadow's rim back to the card that throws it.

Beside a card that lies on a ground of about its own brightness, its shadow's rim is the strongest edge. Shade makes the
ground darker and leaves its colour, and it does so softly; where the card ends, the colour changes at once.
"""

from __future__ import annotations

import cv2
import numpy as np

from handlers.vision.geometry import Lines, Points, line_through, meet, sides_of
from handlers.vision.pixels import Pixels
from handlers.vision.profile import Floats, Strip, courses, crossing, peaks, strip_across, through

_ROUND = 0.08
"""Of a side's length, left out at both ends."""
_SAMPLES = 240
_ROWS = 24
"""That the samples along a side are averaged to, as what tells a card from its shadow may be fainter than noise."""
_REACH = 0.022
"""Of the card's longer side: no shadow whose rim is taken for the card is wider."""
_LEAST = 0.006
"""The same: nearer to the rim, both are one edge."""
_BLUR = 4.0
"""Pixels: the same, however small the card is."""
_DARK = 10.0
"""Levels added to all channels, as the colour of black is only noise."""
_HALF = 0.5
"""Levels a pixel that count as half a change of colour, in an average over many pixels."""
_ENOUGH = 0.5
"""Mean support from which on a change of colour along a straight line is believed."""
_AS_GOOD = 0.7
"""Share of the strongest line's support, from which on a line farther out is the card's side."""
_SOFT = 0.8
"""Width of a shadow's rise at least, as a share of the way to its rim; a card's edge behind a printed line is sharp."""


def out_of_shadow(pixels: Pixels, quad: Points) -> Points:
    """`quad` with those sides moved inwards that lie on the rim of a shadow of the card."""
    long = float(np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1).max())
    sides = [_side(pixels, begin, end, long) for begin, end in sides_of(quad)]
    return np.array([meet(sides[k - 1], sides[k]) for k in range(4)])


def _side(pixels: Pixels, begin: Points, end: Points, long: float) -> Lines:
    line = line_through(begin, end)
    step = max(long / 1000, 0.5)
    most = round(_REACH * long / step)
    offsets = np.linspace(-most, most, 2 * most + 1) * step
    points = begin + (end - begin) * np.linspace(_ROUND, 1 - _ROUND, _SAMPLES)[:, None]
    fine = strip_across(pixels, points, line[:2], offsets)
    rows = np.asarray(cv2.resize(fine, (len(offsets), _ROWS), interpolation=cv2.INTER_AREA), np.float32)
    changes = _changes(rows, step)
    course = _outermost((changes / (changes + _HALF)).astype(np.float64), offsets, long)
    if course is None or not _soft(rows, course, offsets):
        return line
    columns, weights = peaks(changes, course, 2.0)
    places = begin + (end - begin) * np.linspace(_ROUND, 1 - _ROUND, _SAMPLES).reshape(_ROWS, -1).mean(axis=1)[:, None]
    return through(places + (columns * step + offsets[0])[:, None] * line[:2], weights, line)


def _changes(rows: Strip, step: float) -> Strip:
    """n x m: slope of the colour across it, levels a pixel, but for what grows brighter outwards, as shade does."""
    smooth = cv2.GaussianBlur(rows, (0, 0), sigmaX=max(0.9 / step, 0.5), sigmaY=1.0)
    slopes = np.gradient(smooth, step, axis=1)
    colour = smooth + _DARK
    colour /= np.linalg.norm(colour, axis=2, keepdims=True)
    brighter = (slopes * colour).sum(axis=2, keepdims=True)
    left = slopes - np.maximum(brighter, 0) * colour
    return np.asarray(np.linalg.norm(left, axis=2), np.float32)


def _outermost(support: Floats, offsets: Floats, long: float) -> Floats | None:
    """n columns of the outermost straight change of colour inside the rim. None without one, or if the rim is one."""
    least = max(_LEAST * long, _BLUR)
    gathered, tilts = courses(support, max(2, round(0.016 * long / (offsets[1] - offsets[0]))))
    best = gathered.max(axis=1)
    inside = offsets <= 0.5 * least
    most = float(best[inside].max())
    if most < _ENOUGH:
        return None
    good = np.nonzero(inside & (best >= max(_ENOUGH, _AS_GOOD * most)))[0]
    column = int(good[-1])
    while column > 0 and best[column - 1] > best[column]:
        column -= 1
    if offsets[column] > -least:
        return None
    return crossing(column, float(tilts[int(np.argmax(gathered[column]))]), len(support))


def _soft(rows: Strip, course: Floats, offsets: Floats) -> bool:
    """Whether brightness rises from the course to the rim, at offset 0, and beyond it over a way as long as that."""
    rim = len(offsets) // 2
    shares = np.linspace(0, 2, 33)
    columns = (course[:, None] + shares * (rim - course)[:, None]).astype(np.float32)
    row = np.broadcast_to(np.arange(len(rows), dtype=np.float32)[:, None], columns.shape)
    brightness = np.ascontiguousarray(rows.sum(axis=2))
    rise = np.median(cv2.remap(brightness, columns, row, cv2.INTER_LINEAR), axis=0)
    near, far = float(rise[shares <= 1].min()), float(rise[shares >= 1].max())
    steepest = float(np.gradient(rise, shares)[shares > 0.3].max())
    return far - near > _SOFT * steepest
