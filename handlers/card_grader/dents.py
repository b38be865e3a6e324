"""Dents: a lit and a dark spot side by side on print that is even around them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from handlers.card_grader.scratches import FINE, Map, grey_of
from handlers.vision.geometry import Points
from handlers.vision.pixels import Pixels

_RADII = (0.6, 0.9, 1.3)
"""Millimetres."""
_RING = 1.5
"""Of the radius: where the print around a dent is looked at."""
_DIRECTIONS = 8
_TELLS = 10.0
"""Levels by which the lit spot is lighter, and the dark one darker, than all that is around them."""


@dataclass(frozen=True)
class Dent:
    """place: millimetres from the card's upper left corner. radius: millimetres. contrast: levels."""

    place: Points
    radius: float
    contrast: float


def find_dents(card: Pixels) -> list[Dent]:
    """Of a straightened card, strongest first."""
    grey = grey_of(card)
    found = [dent for radius in _RADII for dent in _of(grey, radius)]
    kept: list[Dent] = []
    for dent in sorted(found, key=lambda dent: dent.contrast, reverse=True):
        if all(np.linalg.norm(dent.place - one.place) > dent.radius + one.radius for one in kept):
            kept.append(dent)
    return kept


def _of(grey: Map, radius: float) -> list[Dent]:
    smooth = np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.22 * radius * FINE), np.float32)
    angles = np.arange(2 * _DIRECTIONS) * np.pi / _DIRECTIONS
    around = [_shifted(smooth, _RING * radius, angle) for angle in angles]
    highest, lowest = np.max(around, axis=0), np.min(around, axis=0)
    spots = [_shifted(smooth, 0.5 * radius, angle) for angle in angles]
    score = np.full(grey.shape, -np.inf, np.float32)
    for place in range(2 * _DIRECTIONS):
        lit, dark = spots[place], spots[(place + _DIRECTIONS) % (2 * _DIRECTIONS)]
        score = np.maximum(score, np.minimum(lit - highest, lowest - dark))
    margin = round((_RING * radius + 1) * FINE)
    score[:margin], score[-margin:], score[:, :margin], score[:, -margin:] = 0, 0, 0, 0
    peak = (score >= _TELLS) & (score >= cv2.dilate(score, np.ones((2 * round(radius * FINE) + 1,) * 2, np.uint8)))
    return [
        Dent((np.array([column, row]) + 0.5) / FINE, radius, float(score[row, column]))
        for row, column in np.argwhere(peak)
    ]


def _shifted(smooth: Map, distance: float, angle: float) -> Map:
    """What lies at that distance, millimetres, in that direction from each pixel."""
    right, down = round(distance * FINE * np.cos(angle)), round(distance * FINE * np.sin(angle))
    return np.roll(smooth, (-down, -right), axis=(0, 1))
