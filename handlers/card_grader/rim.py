"""A card's rim unrolled: its outline, round corners and all, as a straight strip that is as wide as wear reaches."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handlers.card_grader.views import HEIGHT, MILLIMETRE, Views
from handlers.vision.geometry import Points
from handlers.vision.profile import Strip

RADIUS = 3.0
"""Millimetres: of the arc that a corner is compared to."""
ALONG = 1 / 8
"""Millimetres from one row of the strip to the next."""
INWARDS = 1 / 16
"""Millimetres from one column to the next."""
OUTSIDE, INSIDE = 1.75, 3.0
"""Millimetres that the strip reaches from the ideal outline."""
SIDE = 3.0
"""Millimetres of each side, beyond the arc, that belong to its corner."""
_SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
_INWARDS = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], float)


@dataclass(frozen=True)
class Rim:
    """n places along the outline, m depths across it.

    strip: n x m x 3. places: n x 2, millimetres from the card's upper left corner. normals: n x 2, unit, inwards.
    bend: n, one over the outline's radius, per millimetre; 0 along sides. depths: m, millimetres inwards.
    corners, edges: which rows belong to each, clockwise from the upper left corner and the upper edge. size: the
    card's width and height in millimetres. pixel: millimetres that a pixel of the photograph takes.
    """

    strip: Strip
    places: Points
    normals: Points
    bend: NDArray[np.float64]
    depths: NDArray[np.float64]
    corners: tuple[slice, ...]
    edges: tuple[slice, ...]
    size: tuple[float, float]
    pixel: float


def unroll(views: Views) -> Rim:
    """The rim of a card laid straight."""
    size = views.exact.shape[1] / MILLIMETRE, HEIGHT / MILLIMETRE
    pieces: list[Points] = []
    corners: list[slice] = []
    edges: list[slice] = []
    begin = 0
    for corner in range(4):
        for piece, slices in ((_corner(corner, size), corners), (_edge(corner, size), edges)):
            pieces.append(piece)
            slices.append(slice(begin, begin + len(piece)))
            begin += len(piece)
    outline = np.concatenate(pieces)
    places, normals, bend = outline[:, :2], outline[:, 2:4], outline[:, 4]
    depths = np.arange(-OUTSIDE, INSIDE + INWARDS / 2, INWARDS)
    spots = (places[:, None] + normals[:, None] * depths[None, :, None]) * MILLIMETRE + views.margin - 0.5
    x, y = spots[..., 0].astype(np.float32), spots[..., 1].astype(np.float32)
    sampled = cv2.remap(views.full, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    strip = cv2.GaussianBlur(np.asarray(sampled, np.float32), (0, 0), sigmaX=0.8, sigmaY=0.8)
    return Rim(
        np.asarray(strip, np.float32), places, normals, bend, depths, tuple(corners), tuple(edges), size, views.pixel
    )


def _corner(corner: int, size: tuple[float, float]) -> Points:
    """The arc, with the end of the side before it and the beginning of the one after it."""
    tip, inwards = _SQUARE[corner] * size, _INWARDS[corner]
    middle = tip + inwards * RADIUS
    steps = np.arange(ALONG / 2, SIDE, ALONG)
    # Clockwise: the side before a corner runs along y at the upper left and lower right, along x at the others.
    before, after = (np.array([0.0, 1.0]), np.array([1.0, 0.0]))[:: 1 if corner % 2 == 0 else -1]
    come = tip + inwards * before * (RADIUS + steps[::-1, None])
    leave = tip + inwards * after * (RADIUS + steps[:, None])
    turn = np.linspace(0, np.pi / 2, round(RADIUS * np.pi / 2 / ALONG) + 2)[1:-1, None]
    normals = inwards * (after * np.cos(turn) + before * np.sin(turn))
    return np.concatenate(
        [
            _rows(come, inwards * after, 0),
            _rows(middle - normals * RADIUS, normals, 1 / RADIUS),
            _rows(leave, inwards * before, 0),
        ]
    )


def _edge(edge: int, size: tuple[float, float]) -> Points:
    begin, end = _SQUARE[edge] * size, _SQUARE[(edge + 1) % 4] * size
    length = float(np.abs(end - begin).sum())
    steps = np.arange(RADIUS + SIDE, length - RADIUS - SIDE, ALONG)[:, None]
    normal = (_INWARDS[edge] + _INWARDS[(edge + 1) % 4]) / 2
    return _rows(begin + (end - begin) / length * steps, normal, 0)


def _rows(places: Points, normals: Points, bend: float) -> Points:
    return np.column_stack([places, np.broadcast_to(normals, places.shape), np.full(len(places), bend)])
