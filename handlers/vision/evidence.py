"""How much edge lies along each line, summed up once, so that any stretch of it is read off in two look-ups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handlers.vision.geometry import Lines
from handlers.vision.gradients import Gradients

_ENOUGH = 0.45
"""Support from which on a stretch of a line counts for it rather than against it."""


@dataclass(frozen=True)
class Evidence:
    """lines: k x 3. sums: k x (steps + 1), support along each line summed up by pixels from position `start` on."""

    lines: Lines
    sums: NDArray[np.float64]
    start: float

    def along(
        self, line: NDArray[np.int64], begin: NDArray[np.float64], end: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Mean support of lines between two positions on each (see `positions`), broadcast."""
        low, high = np.minimum(begin, end), np.maximum(begin, end)
        last = self.sums.shape[1] - 1
        first = np.clip(np.rint(low - self.start).astype(np.int64), 0, last)
        final = np.clip(np.rint(high - self.start).astype(np.int64), 0, last)
        return np.asarray((self.sums[line, final] - self.sums[line, first]) / np.maximum(high - low, 1.0))


def positions(lines: Lines, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far along a line a point lies, in pixels from the foot of the perpendicular through the origin."""
    return np.asarray(points[..., 1] * lines[..., 0] - points[..., 0] * lines[..., 1])


def gather(gradients: Gradients, lines: Lines, most: int) -> Evidence:
    """Of the `most` lines with the best unbroken run of edge."""
    sums, start = _sums(gradients, lines)
    steps = np.diff(sums, axis=1) - _ENOUGH
    best = np.argsort(-_best_runs(steps), kind="stable")[:most]
    return Evidence(lines[best], sums[best], start)


def _sums(gradients: Gradients, lines: Lines) -> tuple[NDArray[np.float64], float]:
    height, width = gradients.size.shape
    reach = np.ceil(np.hypot(width, height))
    along = np.arange(-reach, reach + 1)
    normals = lines[:, None, :2]
    directions = np.stack([-lines[:, 1], lines[:, 0]], axis=1)[:, None, :]
    points = normals * lines[:, None, 2:] + directions * along[None, :, None]
    support = gradients.support(points, np.broadcast_to(normals, points.shape))
    sums = np.concatenate([np.zeros((len(lines), 1)), np.cumsum(support, axis=1)], axis=1)
    return sums, float(-reach)


def _best_runs(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Greatest sum of any stretch of each row (Kadane 1984, as the greatest rise of the running sum)."""
    total = np.cumsum(steps, axis=1)
    lowest = np.minimum.accumulate(np.concatenate([np.zeros((len(steps), 1)), total], axis=1), axis=1)[:, :-1]
    return np.asarray((total - lowest).max(axis=1, initial=0.0))
