"""Quadrilaterals of lines that may be the outline of a card seen in perspective, each with a score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handlers.vision.evidence import Evidence, positions
from handlers.vision.geometry import Points, area, meet

Indices = NDArray[np.int64]
_PARALLEL = np.radians(20)
"""How far opposite sides may be from parallel."""
_OBLIQUE = np.radians(30)
"""How far neighbouring sides may be from a right angle."""
_FORESHORTENED = 0.09
"""Typical difference of a card's proportion, as a logarithm, seen at a slant."""
_LEAST_SIDE = 0.06
"""Of the picture's shorter side."""
_LEAST_AREA = 0.015
"""Of the picture's."""
_BATCH = 1_000_000
"""Combinations of pairs looked at together."""


@dataclass(frozen=True)
class Quads:
    """points: n x 4 x 2, clockwise. scores: n, best first."""

    points: Points
    scores: NDArray[np.float64]


def propose(evidence: Evidence, size: tuple[int, int], aspect: float, most: int) -> Points:
    """The best `most` outlines of sides width : height = `aspect`, either way up, in a picture of (width, height)."""
    pairs = _pairs(evidence, size)
    crossings = meet(evidence.lines[:, None, :], evidence.lines[None, :, :])
    best = Quads(np.zeros((0, 4, 2)), np.zeros(0))
    block = max(1, _BATCH // max(len(pairs), 1))
    for first in range(0, len(pairs), block):
        found = _judge(evidence, crossings, _combine(evidence, pairs, first, block), size, aspect)
        points, scores = np.concatenate([best.points, found.points]), np.concatenate([best.scores, found.scores])
        order = np.argsort(-scores, kind="stable")[:most]
        best = Quads(points[order], scores[order])
    return best.points


def _pairs(evidence: Evidence, size: tuple[int, int]) -> Indices:
    """m x 2: lines that may be opposite sides."""
    lines = evidence.lines
    turned = np.abs(lines[:, :2] @ lines[:, :2].T)
    one, other = np.nonzero(np.triu(turned > np.cos(_PARALLEL), 1))
    middle = (np.array(size) - 1) / 2
    offset = lines[:, 2] - lines[:, :2] @ middle
    same = np.sign((lines[one, :2] * lines[other, :2]).sum(axis=1))
    wide = np.abs(offset[one] - same * offset[other]) > _LEAST_SIDE * min(size)
    return np.column_stack([one[wide], other[wide]])


def _combine(evidence: Evidence, pairs: Indices, first: int, block: int) -> Indices:
    """q x 4 lines in order around: a pair of `block` pairs from `first` on, with a later one about square to it."""
    normals = evidence.lines[:, :2]
    mine = pairs[first : first + block]
    square = np.abs(normals[mine[:, 0]] @ normals[pairs[:, 0]].T) < np.sin(_OBLIQUE)
    square &= np.arange(len(pairs))[None, :] > first + np.arange(len(mine))[:, None]
    one, other = np.nonzero(square)
    return np.column_stack([mine[one, 0], pairs[other, 0], mine[one, 1], pairs[other, 1]])


def _judge(evidence: Evidence, crossings: Points, around: Indices, size: tuple[int, int], aspect: float) -> Quads:
    corners = crossings[around, np.roll(around, -1, axis=1)]
    backwards = area(corners) < 0
    corners[backwards] = corners[backwards][:, ::-1]
    # Side k lies on the line between corners k and k + 1.
    sides = np.roll(around, -1, axis=1)
    sides[backwards] = np.stack([around[backwards][:, k] for k in (3, 2, 1, 0)], axis=1)
    likely = _likely(corners, size, aspect)
    keep = likely > 0.05
    corners, sides, likely = corners[keep], sides[keep], likely[keep]
    support = _support(evidence, corners, sides)
    scores = likely * (0.6 * support.mean(axis=1) + 0.4 * support.min(axis=1))
    return Quads(corners, scores)


def _likely(corners: Points, size: tuple[int, int], aspect: float) -> NDArray[np.float64]:
    """0..1 by shape alone: inside the picture, convex, large enough, and with sides of about the right proportion."""
    lengths = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
    edges = np.roll(corners, -1, axis=1) - corners
    following = np.roll(edges, -1, axis=1)
    convex = (edges[..., 0] * following[..., 1] - edges[..., 1] * following[..., 0] > 0).all(axis=1)
    slack = 0.02 * max(size)
    inside = ((corners > -slack) & (corners < np.array(size) + slack)).all(axis=(1, 2))
    large = area(corners) > _LEAST_AREA * size[0] * size[1]
    even = (np.abs(np.log(np.maximum(lengths, 1) / np.maximum(np.roll(lengths, 2, axis=1), 1))) < np.log(1.5)).all(
        axis=1
    )
    ratio = np.log(np.maximum(lengths[:, [0, 2]].sum(axis=1), 1) / np.maximum(lengths[:, [1, 3]].sum(axis=1), 1))
    off = np.minimum(np.abs(ratio - np.log(aspect)), np.abs(ratio + np.log(aspect)))
    return np.asarray(convex * inside * large * even * np.exp(-((off / _FORESHORTENED) ** 2) / 2))


def _support(evidence: Evidence, corners: Points, sides: Indices) -> NDArray[np.float64]:
    """n x 4: edge along each side's inner part, less what goes on beyond its corners, where a card's would end."""
    lines = evidence.lines[sides]
    begin, end = positions(lines, corners), positions(lines, np.roll(corners, -1, axis=1))
    span = end - begin
    inner = evidence.along(sides, begin + 0.07 * span, end - 0.07 * span)
    before = evidence.along(sides, begin - 0.12 * span, begin - 0.03 * span)
    beyond = evidence.along(sides, end + 0.03 * span, end + 0.12 * span)
    return np.asarray(inner - 0.2 * (before + beyond))
