"""The gradient of a colour picture, and how much of a straight edge lies under sample points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from handlers.vision.geometry import Points
from handlers.vision.pixels import Pixels

Map = NDArray[np.float32]
_SIGMA = 1.1
"""Pixels of smoothing before differences are taken."""

_BURNT = 250.0
"""Level of the darkest channel from which on a glare hides what it falls on."""


@dataclass(frozen=True)
class Gradients:
    """x, y: levels a pixel, of the channel that changes most; 0 but on the ridges of edges. size: magnitude.

    half: the magnitude that counts as half an edge, by how restless the picture is. burnt: where it is so bright that
    nothing can be told; None if that is nowhere.
    """

    x: Map
    y: Map
    size: Map
    half: float
    burnt: NDArray[np.bool_] | None

    def support(self, points: Points, normals: Points) -> NDArray[np.float64]:
        """0..1 for each of ... x 2 points: `strength`, saturating, so that a faint but straight edge counts too."""
        strength = self.strength(points, normals)
        return np.asarray(strength / (strength + self.half))

    def strength(self, points: Points, normals: Points) -> NDArray[np.float64]:
        """Levels a pixel for each of ... x 2 points: the edge with that unit normal that passes within a pixel or so.

        0 outside the picture.
        """
        best = np.zeros(points.shape[:-1])
        for offset in (-1.0, 0.0, 1.0):
            best = np.maximum(best, self._along(points + offset * normals, normals))
        return best

    def known(self, points: Points) -> NDArray[np.float64]:
        """For each of ... x 2 points: 0 where the picture is burnt out, else 1."""
        if self.burnt is None:
            return np.ones(points.shape[:-1])
        height, width = self.burnt.shape
        column = np.clip(np.rint(points[..., 0]).astype(np.int64), 0, width - 1)
        row = np.clip(np.rint(points[..., 1]).astype(np.int64), 0, height - 1)
        return np.asarray(~self.burnt[row, column], np.float64)

    def without(self, quads: Sequence[Points]) -> Gradients:
        """Without what lies in 4 x 2 outlines or within two pixels of them."""
        free = np.ones(self.size.shape, np.uint8)
        for quad in quads:
            corners = np.rint(quad).astype(np.int32)
            cv2.fillPoly(free, [corners], (0,))
            cv2.polylines(free, [corners], True, (0,), 5)
        return replace(self, x=self.x * free, y=self.y * free, size=self.size * free)

    def _along(self, points: Points, normals: Points) -> NDArray[np.float64]:
        column, row = np.rint(points[..., 0]).astype(np.int64), np.rint(points[..., 1]).astype(np.int64)
        height, width = self.size.shape
        inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        column, row = np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)
        across = np.abs(self.x[row, column] * normals[..., 0] + self.y[row, column] * normals[..., 1])
        # Weighted by the cosine to the normal: an edge that runs elsewhere says nothing about this one.
        return np.asarray(inside * across * across / np.maximum(self.size[row, column], 1e-3), np.float64)


def gradients(pixels: Pixels) -> Gradients:
    """Of each pixel the channel with the steepest slope counts, so that edges between equally bright colours do too."""
    smooth = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), _SIGMA)
    x = np.asarray(cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32), np.float32)
    y = np.asarray(cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32), np.float32)
    steepest = np.argmax(x * x + y * y, axis=2)[..., None]
    x = np.asarray(np.take_along_axis(x, steepest, axis=2)[..., 0], np.float32)
    y = np.asarray(np.take_along_axis(y, steepest, axis=2)[..., 0], np.float32)
    size = np.asarray(np.hypot(x, y), np.float32)
    half = float(np.clip(1.5 * np.median(size), 1.0, 5.0))
    ridge = _ridges(x, y, size) & (size > 0.5 * half)
    burnt = smooth.min(axis=2) > _BURNT
    return Gradients(x * ridge, y * ridge, size * ridge, half, burnt if burnt.any() else None)


def _ridges(x: Map, y: Map, size: Map) -> NDArray[np.bool_]:
    """Where no neighbour across the edge is steeper (Canny 1986), so that an edge counts where it is, not beside it."""
    sector = np.rint(np.arctan2(y, x) / (np.pi / 4)).astype(np.int64) % 4
    padded = np.pad(size, 1)
    height, width = size.shape
    ridge = np.zeros(size.shape, bool)
    for place, (right, down) in enumerate([(1, 0), (1, 1), (0, 1), (-1, 1)]):
        ahead = padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]
        behind = padded[1 - down : 1 - down + height, 1 - right : 1 - right + width]
        ridge |= (sector == place) & (size >= ahead) & (size > behind)
    return ridge
