"""Edges across a strip of a picture: n places along an expected edge, m offsets across it each."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from handlers.vision.geometry import Lines, Points
from handlers.vision.pixels import Pixels

Strip: TypeAlias = NDArray[np.float32]
Floats: TypeAlias = NDArray[np.float64]


def strip_across(pixels: Pixels, points: Points, normal: Points, offsets: Floats) -> Strip:
    """n x m x 3: the picture at n points, each moved by m offsets along the normal; the border's colour outside."""
    places = points[:, None, :] + offsets[None, :, None] * normal
    x, y = places[..., 0].astype(np.float32), places[..., 1].astype(np.float32)
    sampled = cv2.remap(pixels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled, np.float32)


def steepness(sampled: Strip, step: float) -> Strip:
    """n x m: length of the colour's slope across an n x m x 3 strip, levels a pixel, averaged over neighbours.

    step: pixels between offsets.
    """
    smooth = cv2.GaussianBlur(sampled, (0, 0), sigmaX=max(0.9 / step, 0.5), sigmaY=1.0)
    slopes = np.gradient(smooth, step, axis=1)
    return np.asarray(np.sqrt((slopes**2).sum(axis=2)), np.float32)


def courses(support: Floats, most: int) -> tuple[Floats, Floats]:
    """Mean support of every straight course through the strip: m x tilts by its middle column and its tilt.

    The tilts, in columns from end to end, are -most..most, and come second.
    """
    rows, columns = support.shape
    tilts = np.arange(-most, most + 1)
    shares = np.linspace(-0.5, 0.5, rows)
    total = np.zeros((columns, len(tilts)))
    padded = np.pad(support, ((0, 0), (most, most)))
    shifts = np.rint(shares[:, None] * tilts[None, :]).astype(np.int64) + most
    for row in range(rows):
        total += np.lib.stride_tricks.sliding_window_view(padded[row], columns)[shifts[row]].T
    return total / rows, tilts.astype(np.float64)


def straightest(support: Floats, most: int) -> tuple[Floats, float]:
    """n columns of the straight course with the greatest mean support, and that mean."""
    gathered, tilts = courses(support, most)
    column, tilt = np.unravel_index(int(np.argmax(gathered)), gathered.shape)
    return crossing(int(column), float(tilts[tilt]), len(support)), float(gathered[column, tilt])


def crossing(column: int, tilt: float, rows: int) -> Floats:
    """Columns of a course in each row, by its middle column and its tilt in columns from end to end."""
    return np.asarray(column + np.linspace(-0.5, 0.5, rows) * tilt)


def peaks(slopes: Strip, course: Floats, band: float) -> tuple[Floats, Floats]:
    """n columns of the steepest slope within `band` of the course, between columns by a parabola, and n weights."""
    columns = np.arange(slopes.shape[1])
    near = np.abs(columns[None, :] - course[:, None]) <= band
    place = np.clip(np.argmax(np.where(near, slopes, -1), axis=1), 1, slopes.shape[1] - 2)
    rows = np.arange(len(slopes))
    before, peak, after = slopes[rows, place - 1], slopes[rows, place], slopes[rows, place + 1]
    bend = before - 2 * peak + after
    shift = np.where(bend < -1e-6, 0.5 * (before - after) / np.minimum(bend, -1e-6), 0.0)
    weights = peak / (peak + max(float(np.median(peak)), 0.5))
    return place + np.clip(shift, -1, 1), weights.astype(np.float64)


def through(points: Points, weights: Floats, line: Lines) -> Lines:
    """The line through most of n x 2 points, about along `line`: least squares with Tukey's weights (1977)."""
    along = np.array([-line[1], line[0]])
    x, y = points @ along, points @ line[:2]
    slope, height = 0.0, float(np.median(y))
    for _ in range(8):
        off = y - (slope * x + height)
        spread = max(1.4826 * float(np.median(np.abs(off))), 0.08)
        keep = weights * np.maximum(1 - (off / (4.0 * spread)) ** 2, 0) ** 2
        total = max(float(keep.sum()), 1e-9)
        mean_x, mean_y = float(keep @ x) / total, float(keep @ y) / total
        spread_x = float((keep * (x - mean_x)) @ (x - mean_x))
        slope = float((keep * (x - mean_x)) @ (y - mean_y)) / max(spread_x, 1e-9)
        height = mean_y - slope * mean_x
    normal = (line[:2] - slope * along) / np.hypot(1, slope)
    return np.array([normal[0], normal[1], height / np.hypot(1, slope)])
