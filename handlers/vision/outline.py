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
_WITHIN = np.array([[0.1, 0.1], [0.3, 0.3], [0.1, 0.4], [0.4, 0.1], [0.1, 0.8], [0.8, 0.1]])
"""Places about a corner's arc, in radii from where the sides meet."""
_SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)


def scores(gradients: Gradients, quads: Points, aspect: float) -> NDArray[np.float64]:
    """0..1 for each of n x 4 x 2 outlines, clockwise from the upper left of a card of that width : height."""
    likely, steps = _sided(gradients, quads, aspect)
    return np.asarray(likely * np.clip(_roundness(gradients, quads, steps, aspect), 0.05, 1))


def frames(gradients: Gradients, quads: Points, aspect: float) -> NDArray[np.float64]:
    """0..1: the same whatever the corners are, so that a card's printed frame counts as well."""
    return _sided(gradients, quads, aspect)[0]


def _sided(gradients: Gradients, quads: Points, aspect: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """n, 0..1: edge along the sides, times their proportion's fitness. n x 4: each side's typical edge."""
    sides = [_side(gradients, quads, k) for k in range(4)]
    known = [gradients.known(_map(quads, _places(k))) for k in range(4)]
    support = np.stack(
        [_mean(one / (one + gradients.half), told) for one, told in zip(sides, known, strict=True)], axis=1
    )
    steps = np.stack([np.median(one, axis=1) for one in sides], axis=1)
    likely = _proportion(quads, aspect) * (0.6 * support.mean(axis=1) + 0.4 * support.min(axis=1))
    return likely, steps


def _mean(values: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of what is known in each row, if that is half of it at least; else less."""
    return np.asarray((values * known).sum(axis=1) / np.maximum(known.sum(axis=1), 0.5 * known.shape[1]))


def _proportion(quads: Points, aspect: float) -> NDArray[np.float64]:
    lengths = np.linalg.norm(np.roll(quads, -1, axis=1) - quads, axis=2)
    ratio = np.log((lengths[:, 0] + lengths[:, 2]) / (lengths[:, 1] + lengths[:, 3]))
    return np.asarray(np.exp(-(((ratio - np.log(aspect)) / _FORESHORTENED) ** 2) / 2))


def _side(gradients: Gradients, quads: Points, side: int) -> NDArray[np.float64]:
    """n x m: edge along a side."""
    return _edge(gradients, quads, _places(side))


def _places(side: int) -> Points:
    """Of the unit square's side, but for its ends, where a card is round."""
    along = np.linspace(0.08, 0.92, 48)[:, None]
    return np.asarray(_SQUARE[side] * (1 - along) + _SQUARE[(side + 1) % 4] * along)


def _edge(gradients: Gradients, quads: Points, places: Points) -> NDArray[np.float64]:
    """Edge at places of the unit square that lie on one straight line, along that line."""
    here = _map(quads, places)
    return _strength(gradients, here, here[:, -1:] - here[:, :1])


def _run(gradients: Gradients, quads: Points, places: Points, ahead: Points) -> NDArray[np.float64]:
    here = _map(quads, places)
    return _strength(gradients, here, _map(quads, ahead) - here)


def _strength(gradients: Gradients, points: Points, along: Points) -> NDArray[np.float64]:
    along = along / np.maximum(np.linalg.norm(along, axis=2, keepdims=True), 1e-12)
    normals = np.stack([along[..., 1], -along[..., 0]], axis=2)
    return gradients.strength(points, np.broadcast_to(normals, points.shape))


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
    found, known = [], []
    for corner in range(4):
        inwards = np.where(_SQUARE[corner] == 0, 1.0, -1.0)
        level, upright = (0, 2)[corner >= 2], (3, 1)[corner in (1, 2)]
        faint = np.maximum(np.minimum(steps[:, level], steps[:, upright]), 1e-3)[:, None]
        curved = np.minimum(_arc(gradients, quads, corner, aspect) / faint, 1).mean(axis=1)
        flat = _edge(gradients, quads, _SQUARE[corner] + near * inwards * radius * [1, 0])
        steep = _edge(gradients, quads, _SQUARE[corner] + near * inwards * radius * [0, 1])
        flat = np.minimum(flat / np.maximum(steps[:, level], 1e-3)[:, None], 1).mean(axis=1)
        steep = np.minimum(steep / np.maximum(steps[:, upright], 1e-3)[:, None], 1).mean(axis=1)
        found.append(curved - 0.25 * (flat + steep))
        known.append(gradients.known(_map(quads, _SQUARE[corner] + inwards * radius * _WITHIN)).mean(axis=1))
    return _mean(np.stack(found, axis=1), np.stack(known, axis=1))
