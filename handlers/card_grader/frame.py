"""How wide the printed border of a card is on each side: where its one colour ends along a straight line."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handlers.vision.pixels import Pixels
from handlers.vision.profile import Floats, Strip, peaks, steepness, straightest, through

_DEEPEST = 0.17
"""Of the card's width: no border is wider."""
_SAMPLE = (0.0115, 0.0165)
"""Of the card's width, from its edge: the part of the border that shows its colour, clear of usual wear."""
_OTHER = 16.0
"""Levels from the border's colour, from which on it is no longer the border."""
_BLUR = 4
"""Pixels by which an edge in an enlarged photograph reaches around itself."""
_HALF = 3.0
"""Levels a pixel that count as half an edge."""
_DARK = 10.0
"""Levels added to all channels before shares are taken, as those of black are only noise."""
_ENOUGH = 0.4
"""Mean support from which on a straight edge is believed."""
_UNEVEN = 0.06
"""Shares of red, green and blue by which a border of one colour may differ along a side."""
_APART = 0.1
"""The same from side to side."""


@dataclass(frozen=True)
class Frame:
    """Widths of the border in pixels of the straightened card, at the middle of each side."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class _Border:
    width: float
    support: float
    colour: NDArray[np.float32]
    uneven: float


def find_frame(card: Pixels) -> Frame | None:
    """Of a straightened card that fills its picture. None if no printed border is found on all four sides."""
    upright, lying = card, card.transpose(1, 0, 2)
    depth = round(_DEEPEST * card.shape[1])
    views = (upright, lying, upright[:, ::-1], lying[:, ::-1])
    borders = [_measure(np.asarray(view[:, :depth], np.float32), card.shape[1]) for view in views]
    colours = np.array([border.colour for border in borders])
    # Shares, not levels: a shadow or a glare changes how bright a border is rather than its colour.
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=2).max()
    believed = all(border.support >= _ENOUGH and border.uneven <= _UNEVEN for border in borders)
    if not believed or apart > _APART:
        return None
    return Frame(*(border.width for border in borders))


def _measure(strip: Strip, width: int) -> _Border:
    """Of a strip that begins at the card's edge: rows along it, columns inwards."""
    length = len(strip)
    rows = length // 5
    middle = strip[round(0.12 * length) : round(0.88 * length)]
    # Fewer, quieter rows: noise goes, and a line that is a little askew stays sharp.
    thin = np.asarray(cv2.resize(middle, (strip.shape[1], rows), interpolation=cv2.INTER_AREA), np.float32)
    first, last = (round(share * width) for share in _SAMPLE)
    colour = np.median(thin[:, first:last], axis=1)
    shares = (colour + _DARK) / (colour + _DARK).sum(axis=1, keepdims=True)
    typical = np.median(shares, axis=0)
    slopes = steepness(thin, 1.0)
    gain = slopes / (slopes + _HALF) * _still_border(thin, colour, first, last)
    course, support = straightest(gain.astype(np.float64), round(0.02 * width))
    columns, weights = peaks(slopes, course, 3.0)
    line = through(np.column_stack([np.arange(rows, dtype=np.float64), columns]), weights, np.array([0.0, 1.0, 0.0]))
    offset = float((line[2] - line[0] * (rows - 1) / 2) / line[1])
    uneven = float(np.median(np.linalg.norm(shares - typical, axis=1)))
    # A column's centre lies half a pixel inside its outer side.
    return _Border(offset + 0.5, support, typical.astype(np.float32), uneven)


def _still_border(thin: Strip, colour: NDArray[np.float32], first: int, last: int) -> Floats:
    """Whether everything between the edge and a place, less the blur of the edge there, has the border's colour."""
    distance = np.linalg.norm(cv2.GaussianBlur(thin, (0, 0), 1.0) - colour[:, None], axis=2)
    usual = float(np.median(distance[:, first:last]))
    distance[:, :first] = 0
    before = np.pad(np.maximum.accumulate(distance, axis=1), ((0, 0), (_BLUR, 0)))[:, : distance.shape[1]]
    still = before < max(_OTHER, 4 * usual)
    still[:, :last] = False
    return still.astype(np.float64)
