"""Straight lines in a picture, by a Hough transform in which an edge votes only for lines along it.

Source: Ballard 1981 (votes gated by the gradient's direction), then total least squares over the edges near each line.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from handlers.vision.geometry import Lines
from handlers.vision.gradients import Gradients

_BINS = 180
"""Directions of normals, one a degree."""
_SPREAD = 10
"""Degrees by which a pixel's gradient may miss the line's normal: on a faint edge noise turns it."""
_SECTOR = 15
"""Degrees; in each such sector at most `_A_SECTOR` lines are kept, so that the grain of wood crowds out no card."""
_A_SECTOR = 28


_LEAST = 4.0
"""Votes of a line above those of its surroundings: about as many pixels of edge, smoothed."""
_SURROUNDINGS = 151
"""Pixels: much wider than a card's border, whose other edge must not drown a faint outline."""


def find_lines(gradients: Gradients) -> Lines:
    """n x 3, strongest first within each sector of directions; n is at most some 330."""
    points, angles, weights = _edges(gradients)
    if len(points) == 0:
        return np.zeros((0, 3))
    votes, origin, reach = _vote(points, angles, weights, gradients.size.shape)
    # Sorted by direction, half a turn's overlap at both ends, so that a line's edges are one slice.
    order = np.argsort(angles, kind="stable")
    turned = np.concatenate([angles[order] - np.pi, angles[order], angles[order] + np.pi])
    order = np.tile(order, 3)
    fitted = [_fit(line, points, turned, order, weights) for line in _peaks(votes, origin, reach)]
    return np.array(fitted).reshape(-1, 3)


Edges = NDArray[np.float64]


def _edges(gradients: Gradients) -> tuple[Edges, Edges, Edges]:
    """Ridge pixels of the gradient: n x 2 positions, n angles of their normals in 0..pi, n weights in 0..1."""
    row, column = np.nonzero(gradients.size)
    angle = np.arctan2(gradients.y[row, column], gradients.x[row, column]).astype(np.float64)
    strength = gradients.size[row, column].astype(np.float64)
    return (
        np.column_stack([column, row]).astype(np.float64),
        np.mod(angle, np.pi),
        strength / (strength + gradients.half),
    )


def _vote(points: Edges, angles: Edges, weights: Edges, shape: tuple[int, ...]) -> tuple[Edges, Edges, int]:
    """_BINS x (2 reach + 1) votes; distances are taken from the picture's middle `origin`, in pixels."""
    origin = np.array([shape[1] - 1, shape[0] - 1]) / 2
    reach = int(np.ceil(np.hypot(*origin))) + 2
    columns = 2 * reach + 1
    votes = np.zeros(_BINS * columns)
    nearest = np.rint(angles * _BINS / np.pi).astype(np.int64)
    x, y = (points - origin).T
    for shift in range(-_SPREAD, _SPREAD + 1):
        place = nearest + shift
        direction = place * (np.pi / _BINS)
        distance = x * np.cos(direction) + y * np.sin(direction)
        wrapped = place % _BINS
        distance = np.where(place == wrapped, distance, -distance)
        cell = wrapped * columns + np.rint(distance).astype(np.int64) + reach
        votes += np.bincount(cell, weights * np.exp(-((2 * shift / _SPREAD) ** 2) / 2), minlength=votes.size)
    return votes.reshape(_BINS, columns), origin, reach


def _peaks(votes: Edges, origin: Edges, reach: int) -> list[Lines]:
    """Local maxima that stand out of their surroundings, which are full of votes on a textured ground."""
    # Past half a turn the same lines come again with their distance negated.
    wrap = 4
    round_ = np.vstack([votes[-wrap:, ::-1], votes, votes[:wrap, ::-1]]).astype(np.float32)
    smooth = np.asarray(cv2.GaussianBlur(round_, (5, 3), 0), np.float32)
    smooth = smooth - np.asarray(cv2.blur(smooth, (_SURROUNDINGS, 1)), np.float32)
    highest = cv2.dilate(smooth, np.ones((3, 3), np.uint8))
    row, column = np.nonzero((smooth >= highest) & (smooth > _LEAST))
    inner = (row >= wrap) & (row < wrap + _BINS)
    row, column = row[inner], column[inner]
    order = np.argsort(-smooth[row, column], kind="stable")
    left = dict.fromkeys(range(_BINS // _SECTOR), _A_SECTOR)
    found = []
    for place in order:
        bin_ = int(row[place]) - wrap
        if not left[bin_ // _SECTOR]:
            continue
        left[bin_ // _SECTOR] -= 1
        angle = bin_ * np.pi / _BINS
        normal = np.array([np.cos(angle), np.sin(angle)])
        found.append(np.array([*normal, column[place] - reach + normal @ origin]))
    return found


def _fit(line: Lines, points: Edges, turned: Edges, order: NDArray[np.int64], weights: Edges) -> Lines:
    """Moved and turned to the edges near it, twice, within a narrower band the second time."""
    gate = np.radians(1.5 * _SPREAD)
    for band in (4.0, 2.0):
        angle = np.mod(np.arctan2(line[1], line[0]), np.pi)
        along = order[np.searchsorted(turned, angle - gate) : np.searchsorted(turned, angle + gate)]
        near = along[np.abs(points[along] @ line[:2] - line[2]) < band]
        if len(near) < 8:
            return line
        close, weight = points[near], weights[near]
        middle = weight @ close / weight.sum()
        centred = (close - middle) * np.sqrt(weight)[:, None]
        _, axes = np.linalg.eigh(centred.T @ centred)
        normal = axes[:, 0]
        if abs(normal @ line[:2]) < np.cos(np.radians(3)):
            return line
        line = np.array([normal[0], normal[1], normal @ middle])
    return line
