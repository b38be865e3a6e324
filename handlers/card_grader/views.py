"""A card laid straight at a fixed scale, as it is measured and as it is shown."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from handlers.vision import rectify
from handlers.vision.geometry import Points, homography
from handlers.vision.outline import ROUND
from handlers.vision.pixels import Pixels

MILLIMETRE = 16
"""Pixels, of a card 88 millimetres high."""
HEIGHT = 88 * MILLIMETRE
"""Pixels."""
_MARGIN = 0.04
"""Of the height, shown around the card."""


class Views:
    """points: the card's corners in `pixels`, clockwise from the upper left. aspect: its width by its height."""

    def __init__(self, pixels: Pixels, points: Points, aspect: float) -> None:
        self._pixels = pixels
        self._points = points
        self._size = round(HEIGHT * aspect), HEIGHT
        self.margin = round(_MARGIN * HEIGHT)

    @property
    def pixel(self) -> float:
        """Millimetres of the card that one pixel of the photograph takes, at least."""
        sides = np.linalg.norm(np.roll(self._points, -1, axis=0) - self._points, axis=1)
        across, along = self._size
        return float(np.max([across, along, across, along] / sides)) / MILLIMETRE

    def seen(self, places: Points) -> Points:
        """... x 2 places in millimetres of the card -> pixels of the photograph, from its outer upper left corner."""
        across, along = np.array(self._size) / MILLIMETRE
        corners = np.array([[0, 0], [across, 0], [across, along], [0, along]])
        flat = places.reshape(-1, 1, 2)
        mapped = cv2.perspectiveTransform(flat, homography(corners, self._points))
        return np.asarray(mapped, np.float64).reshape(places.shape) + 0.5

    @cached_property
    def exact(self) -> Pixels:
        """Cut at the card's sides."""
        return rectify(self._pixels, self._points, self._size)

    @cached_property
    def full(self) -> Pixels:
        """With some of what is around it."""
        return rectify(self._pixels, self._points, self._size, self.margin)

    @cached_property
    def clean(self) -> NDArray[np.uint8]:
        """`exact` with alpha: transparent outside the round corners."""
        width, height = self._size
        radius = round(ROUND * width)
        cover = np.zeros((height, width), np.uint8)
        cv2.rectangle(cover, (radius, 0), (width - 1 - radius, height - 1), 255, -1)
        cv2.rectangle(cover, (0, radius), (width - 1, height - 1 - radius), 255, -1)
        for x in (radius, width - 1 - radius):
            for y in (radius, height - 1 - radius):
                cv2.circle(cover, (x, y), radius, 255, -1, cv2.LINE_AA)
        return np.dstack([self.exact, cover])
