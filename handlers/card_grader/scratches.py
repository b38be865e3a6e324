"""Scratches and print lines: thin straight lines over smooth print, by how much they differ from both their sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from handlers.card_grader.views import MILLIMETRE
from handlers.vision.geometry import Points
from handlers.vision.pixels import Pixels
from handlers.vision.profile import Floats

Map: TypeAlias = NDArray[np.float32]
FINE = 8
"""Pixels a millimetre that lines are looked for at."""
_TURNS = 24
_NEAR, _FAR = 0.4, 0.65
"""Millimetres to both sides: a line is nearly over there, and over there."""
_WIDE = 0.56
"""Millimetres: a line wider than that, at half its height, is print; blur makes a hair's width nearly that."""
_MOST = 25.0
"""Levels: a printed line, however strong, counts no more at one place."""
_LONG = 5.0
"""Millimetres that a line is averaged over."""
_TELLS = 4.0
"""Levels by which it then differs, at least."""
_LEAST = 7.0
"""Millimetres: shorter lines are taken for print."""
_STRAIGHT = 5.0
"""Degrees: what runs along a side of the card is print, but for a line from end to end of the card."""
_RIM = (0.3, 1.2)
"""Millimetres from the card's end, where a print line still runs and a printed frame does not."""
_SAME = 0.9
"""Millimetres between lines that are one."""


@dataclass(frozen=True)
class Line:
    """ends: 2 x 2, millimetres from the card's upper left corner. contrast: levels, lighter or darker."""

    ends: Points
    contrast: float
    across: bool
    """Whether it is a print line: it runs from side to side of the card."""

    @property
    def length(self) -> float:
        """Millimetres."""
        return float(np.linalg.norm(self.ends[1] - self.ends[0]))


def find_lines(card: Pixels) -> list[Line]:
    """Of a straightened card, strongest first."""
    fine = _fine(card)
    grey = np.asarray(fine.mean(axis=2), np.float32)
    size = np.array(grey.shape[::-1]) / FINE
    found = [line for turn in range(_TURNS) for line in _at(grey, 180.0 / _TURNS * turn)]
    kept: list[Line] = []
    for line in sorted(found, key=lambda line: line.length * line.contrast, reverse=True):
        if not any(_covers(one, line) for one in kept):
            kept.append(line)
    return [line for line in kept if (line.across or not _along_side(line, size)) and _is_thin(fine, line)]


def grey_of(card: Pixels) -> Map:
    """Of a straightened card, `FINE` pixels a millimetre."""
    return np.asarray(_fine(card).mean(axis=2), np.float32)


def _fine(card: Pixels) -> Map:
    height, width = card.shape[:2]
    size = width * FINE // MILLIMETRE, height * FINE // MILLIMETRE
    return np.asarray(cv2.resize(card, size, interpolation=cv2.INTER_AREA), np.float32)


def _at(grey: Map, degrees: float) -> list[Line]:
    """Lines that run about in that direction, by turning the card until they run along rows."""
    height, width = grey.shape
    turn = np.asarray(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0), np.float64)
    reach = np.abs(turn[:, :2]) @ (width, height)
    size = int(np.ceil(reach[0])), int(np.ceil(reach[1]))
    turn[:, 2] += (np.array(size) - 1) / 2 - (np.array([width, height]) - 1) / 2
    turned = cv2.warpAffine(grey, turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=-999)
    ridge = _ridge(np.asarray(turned, np.float32))
    mean = cv2.blur(ridge, (round(_LONG * FINE) | 1, 1))
    back = np.asarray(cv2.invertAffineTransform(turn), np.float64)
    return [
        line
        for sign in (1, -1)
        for line in _trace(np.asarray(sign * mean, np.float32), np.asarray(sign * ridge, np.float32), back, grey.shape)
    ]


def _ridge(turned: Map) -> Map:
    """Levels by which a place differs from both sides, above and below; 0 where it lies between or the line is wide."""
    smooth = np.asarray(cv2.GaussianBlur(turned, (0, 0), sigmaX=1.0, sigmaY=0.6), np.float32)
    inside = cv2.erode((turned > -1).astype(np.uint8), np.ones((2 * round(_FAR * FINE) + 3,) * 2, np.uint8)) > 0
    near, far = _both(smooth, round(_NEAR * FINE)), _both(smooth, round(_FAR * FINE))
    narrow = np.abs(near) - 0.5 * np.maximum(np.abs(far) - np.abs(near), 0)
    ridge = np.sign(near) * np.clip(narrow, 0, _MOST) * (np.sign(near) == np.sign(far)) * inside
    return np.asarray(ridge, np.float32)


def _both(smooth: Map, step: int) -> Map:
    padded = np.pad(smooth, ((step, step), (0, 0)), mode="edge")
    above, below = smooth - padded[: -2 * step], smooth - padded[2 * step :]
    same = np.sign(above) == np.sign(below)
    return np.asarray(np.sign(above) * np.minimum(np.abs(above), np.abs(below)) * same, np.float32)


def _trace(mean: Map, ridge: Map, back: NDArray[np.float64], shape: tuple[int, ...]) -> list[Line]:
    peak = mean >= np.maximum(cv2.dilate(mean, np.ones((9, 1), np.uint8)), _TELLS)
    # A line that is a little askew steps from row to row.
    joined = cv2.dilate(peak.astype(np.uint8), np.ones((5, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined)
    lines = []
    for label in range(1, count):
        left, top, width, height, _ = stats[label]
        if width < _LEAST * FINE:
            continue
        part = np.where(
            labels[top : top + height, left : left + width] == label, mean[top : top + height, left : left + width], 0
        )
        best = part.max(axis=0)
        strong = np.flatnonzero(best >= 0.5 * best.max())
        columns = np.array([strong[0], strong[-1]])
        rows = np.argmax(part[:, columns], axis=0)
        if columns[1] - columns[0] < _LEAST * FINE:
            continue
        ends = np.column_stack([columns + left, rows + top, np.ones(2)]) @ back.T
        line = Line((ends + 0.5) / FINE, float(np.median(best[strong])), False)
        lines.append(Line(line.ends, line.contrast, _is_across(line, ridge, back, shape)))
    return lines


def _is_across(line: Line, ridge: Map, back: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    """Whether a line parallel to a side goes on in the card's outermost rim at both of its ends."""
    size = np.array(shape[1::-1]) / FINE
    axis = int(np.argmax(np.abs(line.ends[1] - line.ends[0])))
    tilt = np.abs(np.diff(line.ends[:, 1 - axis]))[0] / max(line.length, 1)
    if line.length < 0.6 * size[axis] or tilt > np.tan(np.radians(1.5)):
        return False
    place = float(line.ends[:, 1 - axis].mean())
    forth = cv2.invertAffineTransform(back)
    for end in (np.linspace(*_RIM, 8), size[axis] - np.linspace(*_RIM, 8)):
        spots = np.full((8, 2), place)
        spots[:, axis] = end
        at = np.column_stack([spots * FINE - 0.5, np.ones(8)]) @ forth.T
        rows, columns = np.rint(at[:, 1]).astype(int), np.rint(at[:, 0]).astype(int)
        band = np.max(
            [
                ridge[np.clip(rows + off, 0, len(ridge) - 1), np.clip(columns, 0, ridge.shape[1] - 1)]
                for off in (-1, 0, 1)
            ],
            axis=0,
        )
        if np.median(band) < _TELLS / 2:
            return False
    return True


def _covers(one: Line, other: Line) -> bool:
    """Whether most of the other line lies on one that is stronger."""
    along = (one.ends[1] - one.ends[0]) / max(one.length, 1e-6)
    spots = other.ends[0] + (other.ends[1] - other.ends[0]) * np.linspace(0, 1, 9)[:, None] - one.ends[0]
    place = np.clip(spots @ along, 0, one.length)
    off = np.linalg.norm(spots - place[:, None] * along, axis=1)
    return bool((off < _SAME).mean() > 0.5)


def _is_thin(fine: Map, line: Line) -> bool:
    """Whether each third is narrow and has the same colour on both sides: a wedge widens, and colours blur at edges."""
    along = (line.ends[1] - line.ends[0]) / line.length
    offsets = np.arange(-1.0, 1.0 + 1e-6, 0.05)
    spots = line.ends[0] + along * np.linspace(0.02, 0.98, 48)[:, None, None] * line.length
    places = (spots + offsets[None, :, None] * np.array([-along[1], along[0]])) * FINE - 0.5
    x, y = places[..., 0].astype(np.float32), places[..., 1].astype(np.float32)
    sampled = np.asarray(cv2.remap(fine, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float64)
    return all(_is_narrow(np.median(third, axis=0), offsets) for third in np.split(sampled, 3))


def _is_narrow(profile: Floats, offsets: Floats) -> bool:
    """Colours across a line, by offsets in millimetres."""
    before, after = profile[offsets < -0.6].mean(axis=0), profile[offsets > 0.6].mean(axis=0)
    height = np.abs(profile - (before + after) / 2).mean(axis=1)[np.abs(offsets) < 0.5]
    width = float((height > 0.5 * height.max()).sum() * (offsets[1] - offsets[0]))
    return width <= _WIDE and bool(np.abs(before - after).max() < 0.6 * height.max())


def _along_side(line: Line, size: Points) -> bool:
    run = np.abs(line.ends[1] - line.ends[0])
    near_rim = bool((np.minimum(line.ends, size - line.ends) < 1.0).any())
    return bool(np.degrees(np.arctan2(run.min(), run.max())) < _STRAIGHT) or near_rim
