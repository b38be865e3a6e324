"""A picture reduced to the size that cards are looked for in, and the way between both."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from handlers.contract import RecordError
from handlers.vision.geometry import Points
from handlers.vision.gradients import Gradients, gradients
from handlers.vision.pixels import Pixels

REDUCED = 720
"""Pixels of the longer side of the picture that cards are looked for in."""
LEAST_HEIGHT = 200
"""Pixels: a card less high tells too little about itself."""
_LEAST_SIDE = 16
"""Pixels of the reduced picture."""


@dataclass(frozen=True)
class View:
    """pixels: the picture. slopes: of the picture reduced by `scale`."""

    pixels: Pixels
    slopes: Gradients
    scale: float

    @property
    def _ratio(self) -> Points:
        """Pixels of the picture for one of the reduced, across and along."""
        return np.asarray(np.array(self.pixels.shape[1::-1]) / np.array(self.slopes.size.shape[::-1]), np.float64)

    def full(self, points: Points) -> Points:
        """Points of the reduced picture in the whole one."""
        return np.asarray((points + 0.5) * self._ratio - 0.5)

    def reduced(self, points: Points) -> Points:
        """The way back."""
        return np.asarray((points + 0.5) / self._ratio - 0.5)


def view_of(pixels: Pixels) -> View:
    """Raises RecordError 422 for a picture that is too small."""
    height, width = pixels.shape[:2]
    if max(height, width) < LEAST_HEIGHT:
        raise RecordError(422, f"the picture of {width} x {height} pixels is too small to show a card's details")
    scale = min(1.0, REDUCED / max(height, width))
    if min(height, width) * scale < _LEAST_SIDE:
        raise no_card()
    size = round(width * scale), round(height * scale)
    reduced = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8) if scale < 1 else pixels
    return View(pixels, gradients(reduced), scale)


def no_card() -> RecordError:
    """What is raised where none is found."""
    return RecordError(422, "no card was found: send a picture that shows one whole card, flat, on another ground")
