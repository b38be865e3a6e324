"""Which of several likely outlines is the card's own: not its printed frame, its sleeve, or a pattern of the ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handlers.vision.geometry import Points, area, upright_first
from handlers.vision.gradients import Gradients
from handlers.vision.outline import frames, scores
from handlers.vision.search import improve, improved_once, ranks_of

_ENOUGH = 0.34
"""Score from which on an outline is believed."""
_STARTS = 2
"""Outlines whose surroundings are searched."""
_FRAMES = 3
"""The same, by their sides alone: a card's printed frame is found where its outline is too faint."""
_OUTER = 0.5
"""Power of the area for those."""
_DIFFERENT = 6.0
"""Pixels between corners of outlines that are searched apart."""
_AS_GOOD = 0.75
"""Share of the best score that makes another card of an outline elsewhere."""
_AS_LARGE = 0.4
"""Share of its area, likewise."""


@dataclass(frozen=True)
class Chosen:
    """points: 4 x 2, clockwise from the card's upper left. score: 0..1."""

    points: Points
    score: float


def choose(gradients: Gradients, quads: Points, aspect: float, most: int) -> list[Chosen]:
    """Up to `most` of n x 4 x 2 outlines that are good enough, none upon another, each moved to where it fits best."""
    left = upright_first(quads, aspect)
    chosen: list[Chosen] = []
    while len(left) and len(chosen) < most:
        best = _best(gradients, left, aspect)
        if best is None:
            break
        chosen.append(best)
        left = left[[not _overlap(one, best.points) for one in left]]
    return chosen


def rivals(gradients: Gradients, quads: Points, aspect: float, chosen: Chosen) -> int:
    """How many of the outlines elsewhere are about as good and large as the one that was chosen."""
    upright = upright_first(quads, aspect)
    kept: list[Points] = []
    for quad in upright[scores(gradients, upright, aspect) > _AS_GOOD * chosen.score]:
        if not any(_overlap(quad, one) for one in (chosen.points, *kept)):
            kept.append(quad)
    return sum(bool(area(one) > _AS_LARGE * area(chosen.points)) for one in kept)


def _best(gradients: Gradients, quads: Points, aspect: float) -> Chosen | None:
    starts = _starts(quads, ranks_of(quads, scores(gradients, quads, aspect)), _STARTS, [])
    starts = _starts(quads, area(quads) ** _OUTER * frames(gradients, quads, aspect), _FRAMES, starts)
    best, _ = max((improved_once(gradients, start, aspect) for start in starts), key=lambda found: found[1])
    best = improve(gradients, best, aspect)
    score = float(scores(gradients, best[None], aspect)[0])
    return Chosen(best, score) if score >= _ENOUGH else None


def _starts(quads: Points, ranks: NDArray[np.float64], most: int, kept: list[Points]) -> list[Points]:
    """Those kept, and the best few that differ from them and from each other by more than a few pixels."""
    kept = list(kept)
    most += len(kept)
    for place in np.argsort(-ranks, kind="stable"):
        if all(np.abs(quads[place] - one).max() > _DIFFERENT for one in kept):
            kept.append(quads[place])
        if len(kept) == most:
            break
    return kept


def _overlap(one: Points, other: Points) -> bool:
    """Whether one's middle lies in the other."""
    return _within(one.mean(axis=0), other) or _within(other.mean(axis=0), one)


def _within(point: Points, quad: Points) -> bool:
    along, towards = np.roll(quad, -1, axis=0) - quad, point - quad
    return bool((along[:, 0] * towards[:, 1] - along[:, 1] * towards[:, 0] > 0).all())
