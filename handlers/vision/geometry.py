"""Lines, quadrilaterals and homographies in the plane."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Points: TypeAlias = NDArray[np.float64]
"""... x 2: x, y in pixels."""
Lines: TypeAlias = NDArray[np.float64]
"""... x 3: a unit normal nx, ny and the distance r, with nx x + ny y = r for every point x, y of the line."""


def meet(one: Lines, other: Lines) -> Points:
    """Where two lines cross, broadcast over leading axes; far away, not infinite, for parallel ones."""
    determinant = one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
    determinant = np.where(np.abs(determinant) < 1e-9, 1e-9, determinant)
    x = (one[..., 2] * other[..., 1] - one[..., 1] * other[..., 2]) / determinant
    y = (one[..., 0] * other[..., 2] - one[..., 2] * other[..., 0]) / determinant
    return np.stack([x, y], axis=-1)


def line_through(one: Points, other: Points) -> Lines:
    """The line from `one` to `other`; its normal points to the left of that way, as seen in a picture (y down)."""
    along = (other - one) / np.linalg.norm(other - one)
    normal = np.array([along[1], -along[0]])
    return np.array([normal[0], normal[1], normal @ one])


def sides_of(quad: Points) -> list[tuple[Points, Points]]:
    """The four sides of a quadrilateral, from each corner to the next."""
    return [(quad[place], quad[(place + 1) % 4]) for place in range(4)]


def area(quad: Points) -> NDArray[np.float64]:
    """Of ... x 4 x 2 corners, square pixels; positive if they run clockwise as seen in a picture."""
    following = np.roll(quad, -1, axis=-2)
    return np.asarray((quad[..., 0] * following[..., 1] - quad[..., 1] * following[..., 0]).sum(axis=-1) / 2)


def homography(source: Points, target: Points) -> NDArray[np.float64]:
    """3 x 3, from four points to four points."""
    return np.asarray(cv2.getPerspectiveTransform(source.astype(np.float32), target.astype(np.float32)), np.float64)


def upright_first(quads: Points, aspect: float) -> Points:
    """n x 4 x 2 clockwise corners, begun so that the sides fit the aspect and the card's top lies above its bottom."""
    lengths = np.linalg.norm(np.roll(quads, -1, axis=1) - quads, axis=2)
    ratio = np.log((lengths[:, 0] + lengths[:, 2]) / np.maximum(lengths[:, 1] + lengths[:, 3], 1e-9))
    lying = np.abs(ratio - np.log(aspect)) > np.abs(ratio + np.log(aspect))
    quads = np.where(lying[:, None, None], np.roll(quads, -1, axis=1), quads)
    down = (quads[:, 2] + quads[:, 3] - quads[:, 0] - quads[:, 1])[:, 1] < 0
    return np.where(down[:, None, None], np.roll(quads, 2, axis=1), quads)


def covers(one: Points, other: Points) -> bool:
    """Whether a tenth of either convex quadrilateral lies in the other."""
    shared, _ = cv2.intersectConvexConvex(one.astype(np.float32), other.astype(np.float32))
    return bool(shared > 0.1 * min(area(one), area(other)))
