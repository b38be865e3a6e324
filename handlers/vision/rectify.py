"""A card laid straight: seen from above, at a fixed scale."""

from __future__ import annotations

import cv2
import numpy as np

from handlers.vision.geometry import Points, homography
from handlers.vision.pixels import Pixels


def rectify(pixels: Pixels, points: Points, size: tuple[int, int], margin: int = 0) -> Pixels:
    """The card with its corners in those of a picture of (width, height) pixels, and `margin` pixels of what is around.

    points: 4 x 2, clockwise from the upper left. What lies outside the photograph repeats its border.
    """
    width, height = size
    # A pixel's centre is at a whole number, so the card's outline runs half a pixel outside the first and last centres.
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], float) + margin - 0.5
    whole = (width + 2 * margin, height + 2 * margin)
    shrink = float(np.linalg.norm(points[1] - points[0])) / width
    if shrink > 1.5:
        pixels, points = _reduced(pixels, points, shrink)
    warped = cv2.warpPerspective(
        pixels, homography(points, target), whole, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped, np.uint8)


def _reduced(pixels: Pixels, points: Points, shrink: float) -> tuple[Pixels, Points]:
    """Averaged down first where the card is much larger than its target: interpolation alone would skip pixels."""
    height, width = pixels.shape[:2]
    size = max(1, round(width / shrink)), max(1, round(height / shrink))
    smaller = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return smaller, (points + 0.5) * (size[0] / width, size[1] / height) - 0.5
