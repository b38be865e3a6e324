"""What is known about a rendered card, and how far a measurement is from it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels: TypeAlias = NDArray[np.uint8]
Points: TypeAlias = NDArray[np.float64]
Borders: TypeAlias = tuple[float, float, float, float]

WIDTH, HEIGHT, RADIUS = 63.0, 88.0, 3.0
"""Millimetres of a card and of its corners' radius."""
OUTLINE: Points = np.array([[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]])
"""Where its sides meet, clockwise from the upper left."""


@dataclass(frozen=True)
class Rendered:
    """A picture of one card.

    pixels: height x width x 3, RGB. points: 4 x 2, where the card's sides meet, in pixels from the picture's outer
    upper left corner, clockwise from the upper left of the card as it lies: turned by at most a quarter.
    borders: left, top, right, bottom of the card as it lies, in millimetres; None without a printed border.
    scene: what it shows, in words. turned: whether the card's top, as printed, lies below.
    """

    pixels: Pixels
    points: Points
    borders: Borders | None
    scene: str
    turned: bool = False

    def jpeg(self, quality: int = 90) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self.pixels).save(buffer, "JPEG", quality=quality)
        return buffer.getvalue()

    @property
    def card_height(self) -> float:
        """Pixels: mean of the long sides."""
        return float(np.linalg.norm(self.points[[3, 2]] - self.points[[0, 1]], axis=1).mean())

    def corner_errors(self, points: Points) -> Points:
        """Distance of each of 4 x 2 measured points from the true one, as if the card were 1,000 pixels high."""
        return np.asarray(np.linalg.norm(points - self.points, axis=1) * 1000 / self.card_height, float)

    def centering(self) -> tuple[float, float]:
        """Percent of left in left + right, and of top in top + bottom. Only for a card with a border."""
        assert self.borders is not None
        left, top, right, bottom = self.borders
        return 100 * left / (left + right), 100 * top / (top + bottom)


def as_it_lies(points: Points, borders: Borders | None) -> tuple[Points, Borders | None, bool]:
    """Turned by half where its top shows down: no measurement of the outline can tell which end is printed as top.

    Last, whether it was turned.
    """
    down = (points[2] + points[3] - points[0] - points[1])[1]
    if down >= 0:
        return points, borders, False
    turned = (borders[2], borders[3], borders[0], borders[1]) if borders else None
    return np.roll(points, 2, axis=0), turned, True
