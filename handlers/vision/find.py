"""From a photograph to the outline of the one card on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from handlers.contract import RecordError
from handlers.vision.choose import choose, upright_first
from handlers.vision.evidence import gather
from handlers.vision.geometry import Points
from handlers.vision.gradients import Gradients, gradients
from handlers.vision.lines import find_lines
from handlers.vision.outline import arcs
from handlers.vision.pixels import Pixels
from handlers.vision.quads import propose
from handlers.vision.refine import refine

REDUCED = 720
"""Pixels of the longer side of the picture that cards are looked for in."""
LEAST_HEIGHT = 200
"""Pixels: a card less high tells too little about itself."""
_PROPORTION = 0.04
"""Logarithm by which a scan's proportion may differ from the card's."""
_ROUND_ENOUGH = 0.6
"""Edge along each corner's arc, from which on a picture is a scan that ends where the card does."""
_REACH = 2.5
_LEAST_SIDE = 16
"""Pixels of the reduced picture."""
_LINES = 56
_PROPOSALS = 600


@dataclass(frozen=True)
class Found:
    """points: 4 x 2, where the sides meet, clockwise from the card's upper left. score: 0..1, how sure it is."""

    points: Points
    score: float


def find_card(pixels: Pixels, aspect: float) -> Found:
    """The card of that width : height, turned by at most a quarter: which end is its top is not looked at.

    Raises RecordError 422 without a card, with several, or with one under `LEAST_HEIGHT` pixels.
    """
    height, width = pixels.shape[:2]
    if max(height, width) < LEAST_HEIGHT:
        raise RecordError(422, f"the picture of {width} x {height} pixels is too small to show a card's details")
    scale = min(1.0, REDUCED / max(height, width))
    if min(height, width) * scale < _LEAST_SIDE:
        raise _none()
    points, score = _look(pixels, scale, aspect)
    high = float(np.linalg.norm(points[[3, 2]] - points[[0, 1]], axis=1).mean())
    if high < LEAST_HEIGHT:
        raise RecordError(
            422, f"the card is only {high:.0f} pixels high: send a picture in which it has {LEAST_HEIGHT}"
        )
    return Found(points, score)


def _look(pixels: Pixels, scale: float, aspect: float) -> tuple[Points, float]:
    """The card's outline, clockwise from its upper left, and its score."""
    height, width = pixels.shape[:2]
    size = round(width * scale), round(height * scale)
    reduced = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8) if scale < 1 else pixels
    slopes = gradients(reduced)
    chosen = choose(slopes, propose(gather(slopes, find_lines(slopes), _LINES), size, aspect, _PROPOSALS), aspect)
    if chosen is None:
        return _scanned(slopes, width, height, aspect)
    if chosen.others:
        raise RecordError(422, f"{chosen.others + 1} cards were found: send one card a picture")
    points = (chosen.points + 0.5) * (width / size[0], height / size[1]) - 0.5
    return refine(pixels, points, _REACH / scale), chosen.score


def _scanned(slopes: Gradients, width: int, height: int, aspect: float) -> tuple[Points, float]:
    """The whole picture, if it has a card's proportion and a card's round corners. Raises RecordError 422."""
    if abs(math.log(min(width, height) / max(width, height) / aspect)) > _PROPORTION:
        raise _none()
    within = _corners(slopes.size.shape[1], slopes.size.shape[0])
    score = float(arcs(slopes, upright_first(within[None], aspect), aspect).min())
    if score < _ROUND_ENOUGH:
        raise _none()
    return upright_first(_corners(width, height)[None], aspect)[0], score


def _corners(width: int, height: int) -> Points:
    return np.array([[0, 0], [width, 0], [width, height], [0, height]]) - 0.5


def _none() -> RecordError:
    return RecordError(422, "no card was found: send a picture that shows one whole card, flat, on another ground")
