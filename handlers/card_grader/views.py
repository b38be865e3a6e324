"""A card laid straight at a fixed scale, as it is measured and as it is shown."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from handlers.vision import rectify
from handlers.vision.geometry import Points
from handlers.vision.outline import ROUND
from handlers.vision.pixels import Pixels

HEIGHT = 1408
"""Pixels: 16 a millimetre of a card of 88."""
_MARGIN = 0.04
"""Of the height, shown around the card."""


class Views:
    """points: the card's corners in `pixels`, clockwise from the upper left. aspect: its width by its height."""

    def __init__(self, pixels: Pixels, points: Points, aspect: float) -> None:
        self._pixels = pixels
        self._points = points
        self._size = round(HEIGHT * aspect), HEIGHT

    @cached_property
    def exact(self) -> Pixels:
        """Cut at the card's sides."""
        return rectify(self._pixels, self._points, self._size)

    @cached_property
    def full(self) -> Pixels:
        """With some of what is around it."""
        return rectify(self._pixels, self._points, self._size, round(_MARGIN * HEIGHT))

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
