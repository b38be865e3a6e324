"""How much an outline looks like a card's: straight sides that turn into round corners.

A printed frame, a sleeve and a pattern of the ground have sides too, but they run on into sharp corners, or cross.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from handlers.vision.geometry import Points
from handlers.vision.gradients import Gradients

ROUND = 3.0 / 63.0
"""Radius of a card's corners, of its width: 3 mm of 63 (there is no standard; 2.5 to 3.5 mm are usual)."""
_FORESHORTENED = 0.09
"""Typical difference of a card's proportion, as a logarithm, seen at a slant."""
_SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)


def scores(gradients: Gradients, quads: Points, aspect: float) -> NDArray[np.float64]:
    """0..1 for each of n x 4 x 2 outlines, clockwise from the upper left of a card of that width : height."""
    sides = [_side(gradients, quads, k) for k in range(4)]
    support = np.stack([(one / (one + gradients.half)).mean(axis=1) for one in sides], axis=1)
    steps = np.stack([np.median(one, axis=1) for one in sides], axis=1)
    return np.asarray(
        _proportion(quads, aspect)
        * (0.6 * support.mean(axis=1) + 0.4 * support.min(axis=1))
        * np.clip(_roundness(gradients, quads, steps, aspect), 0.05, 1)
    )


def _proportion(quads: Points, aspect: float) -> NDArray[np.float64]:
    lengths = np.linalg.norm(np.roll(quads, -1, axis=1) - quads, axis=2)
    ratio = np.log((lengths[:, 0] + lengths[:, 2]) / (lengths[:, 1] + lengths[:, 3]))
    return np.asarray(np.exp(-(((ratio - np.log(aspect)) / _FORESHORTENED) ** 2) / 2))


def _side(gradients: Gradients, quads: Points, side: int) -> NDArray[np.float64]:
    """n x m: edge along a side, but for its round ends."""
    along = np.linspace(0.08, 0.92, 48)[:, None]
    return _edge(gradients, quads, _SQUARE[side] * (1 - along) + _SQUARE[(side + 1) % 4] * along, side % 2 == 0)


def _edge(gradients: Gradients, quads: Points, places: Points, across: bool) -> NDArray[np.float64]:
    """Edge at places of the unit square that run along its x axis (`across`) or its y axis."""
    ahead = places + (np.array([1e-3, 0]) if across else np.array([0, 1e-3]))
    return _run(gradients, quads, places, ahead)


def _run(gradients: Gradients, quads: Points, places: Points, ahead: Points) -> NDArray[np.float64]:
    here, there = _map(quads, places), _map(quads, ahead)
    along = there - here
    along /= np.maximum(np.linalg.norm(along, axis=2, keepdims=True), 1e-12)
    return gradients.strength(here, np.stack([along[..., 1], -along[..., 0]], axis=2))


def _map(quads: Points, places: Points) -> Points:
    """n x m x 2: m places of the unit square in each quadrilateral. Source: Heckbert 1989, square to quad."""
    one, two, three, four = (quads[:, k, :] for k in range(4))
    total = one - two + three - four
    right, down = two - three, four - three
    determinant = _cross(right, down)
    determinant = np.where(np.abs(determinant) < 1e-9, 1e-9, determinant)
    g, h = _cross(total, down) / determinant, _cross(right, total) / determinant
    across = two - one + g[:, None] * two
    along = four - one + h[:, None] * four
    u, v = places[None, :, 0, None], places[None, :, 1, None]
    below = g[:, None, None] * u + h[:, None, None] * v + 1
    return np.asarray((across[:, None, :] * u + along[:, None, :] * v + one[:, None, :]) / below)


def _cross(one: Points, other: Points) -> NDArray[np.float64]:
    return np.asarray(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0])


def arcs(gradients: Gradients, quads: Points, aspect: float) -> NDArray[np.float64]:
    """n x 4, 0..1: how much edge lies along the arc of each corner."""
    strengths = [_arc(gradients, quads, corner, aspect) for corner in range(4)]
    return np.stack([(one / (one + gradients.half)).mean(axis=1) for one in strengths], axis=1)


def _arc(gradients: Gradients, quads: Points, corner: int, aspect: float) -> NDArray[np.float64]:
    """n x m: edge along the middle of a corner's arc."""
    inwards = np.where(_SQUARE[corner] == 0, 1.0, -1.0) * (ROUND, ROUND * aspect)
    turn = np.radians(np.linspace(15, 75, 14))
    here, ahead = (
        _SQUARE[corner] + inwards * (1 - np.column_stack([np.cos(angle), np.sin(angle)]))
        for angle in (turn, turn + 0.02)
    )
    return _run(gradients, quads, here, ahead)


def _roundness(gradients: Gradients, quads: Points, steps: NDArray[np.float64], aspect: float) -> NDArray[np.float64]:
    """Up to 1: edge along the four arcs, less half of that along the sides beyond them, as shares of the sides' own."""
    radius = np.array([ROUND, ROUND * aspect])
    near = np.linspace(0.1, 0.43, 8)[:, None]
    found = []
    for corner in range(4):
        inwards = np.where(_SQUARE[corner] == 0, 1.0, -1.0)
        level, upright = (0, 2)[corner >= 2], (3, 1)[corner in (1, 2)]
        faint = np.maximum(np.minimum(steps[:, level], steps[:, upright]), 1e-3)[:, None]
        curved = np.minimum(_arc(gradients, quads, corner, aspect) / faint, 1).mean(axis=1)
        flat = _edge(gradients, quads, _SQUARE[corner] + near * inwards * radius * [1, 0], across=True)
        steep = _edge(gradients, quads, _SQUARE[corner] + near * inwards * radius * [0, 1], across=False)
        flat = np.minimum(flat / np.maximum(steps[:, level], 1e-3)[:, None], 1).mean(axis=1)
        steep = np.minimum(steep / np.maximum(steps[:, upright], 1e-3)[:, None], 1).mean(axis=1)
        found.append(curved - 0.25 * (flat + steep))
    return np.asarray(np.mean(found, axis=0))
