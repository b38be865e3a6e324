"""Whether an outline is a part of a card that its picture cuts off: then two sides run on to the picture's border."""

from __future__ import annotations

import numpy as np

from handlers.vision.geometry import Points, area
from handlers.vision.gradients import Gradients
from handlers.vision.outline import arcs

_NEAR = 0.5
"""Of the side that runs on: no farther from the outline the picture's border is looked for."""
_LEAST = 3.0
"""Pixels of the reduced picture: what is nearer to the border than that is the card's own side, flush with it."""
_BESIDE = 0.1
"""Of the card's size: no farther from the picture's border a frame is taken for the side that is cut off."""
_HIDDEN = 0.02
"""The same: what is missing of a card whose round corners are still seen."""
_ROUND = 0.3
"""Edge along their arcs."""
_GOES_ON = 0.7
"""Edge beyond both corners, as a share of that along the sides, from which on they go on."""


def is_cut_off(gradients: Gradients, quad: Points, aspect: float) -> bool:
    """Of 4 x 2 corners, clockwise from the card's upper left: whether the card goes on beyond any of its sides.

    Either the sides beside it do, as far as the picture does, or they turn into round corners at the picture's border.
    """
    return any(
        (_goes_on(gradients, quad[k - 1], quad[k]) and _goes_on(gradients, quad[k - 2], quad[k - 3]))
        or _turns_beyond(gradients, quad, k, aspect)
        for k in range(4)
    )


def _turns_beyond(gradients: Gradients, quad: Points, side: int, aspect: float) -> bool:
    """Whether a side lies beside the picture's border, and the card's round corners fit better beyond that border."""
    begin, end = side, (side + 1) % 4
    towards = [quad[begin] - quad[begin - 1], quad[end] - quad[(end + 1) % 4]]
    towards = [one / np.linalg.norm(one) for one in towards]
    left = [_to_border(gradients, quad[place], one) for place, one in zip((begin, end), towards, strict=True)]
    size = float(np.sqrt(area(quad)))
    if not (min(left) >= _LEAST and max(left) <= _BESIDE * size):
        return False
    moved = []
    for beyond in np.linspace(0, _HIDDEN * size, 12):
        other = quad.copy()
        for place, one, way in zip((begin, end), towards, left, strict=True):
            other[place] = quad[place] + one * (way + beyond)
        moved.append(other)
    rounds = arcs(gradients, np.array([quad, *moved]), aspect)[:, [begin, end]].mean(axis=1)
    return bool(rounds[1:].max() > max(_ROUND, rounds[0] + 0.1))


def _goes_on(gradients: Gradients, begin: Points, end: Points) -> bool:
    """Whether the edge from `begin` to `end` continues from there to the picture's border."""
    long = float(np.linalg.norm(end - begin))
    along = (end - begin) / max(long, 1e-9)
    left = _to_border(gradients, end, along)
    if not _LEAST <= left <= _NEAR * long:
        return False
    normal = np.array([along[1], -along[0]])
    inner = begin + along * np.linspace(0.1, 0.9, 64)[:, None] * long
    beyond = end + along * np.linspace(min(2.0, left / 3), left - 1, 32)[:, None]
    support = [float(gradients.support(one, np.broadcast_to(normal, one.shape)).mean()) for one in (inner, beyond)]
    return support[1] > _GOES_ON * support[0]


def _to_border(gradients: Gradients, point: Points, along: Points) -> float:
    """Pixels from a point within the picture, in a direction, to its border."""
    last = np.array(gradients.size.shape[::-1]) - 1.0
    room = np.where(along > 0, last - point, point)
    return float((room / np.maximum(np.abs(along), 1e-9)).min())
