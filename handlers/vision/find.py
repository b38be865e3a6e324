"""From a photograph to the outline of the one card on it, or of each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from handlers.contract import RecordError
from handlers.vision.choose import Chosen, choose, rivals
from handlers.vision.cut import is_cut_off
from handlers.vision.evidence import gather
from handlers.vision.geometry import Points, covers, upright_first
from handlers.vision.gradients import Gradients, gradients
from handlers.vision.lines import find_lines
from handlers.vision.outline import arcs
from handlers.vision.pixels import Pixels
from handlers.vision.quads import propose
from handlers.vision.refine import refine
from handlers.vision.search import improve
from handlers.vision.shadow import out_of_shadow
from handlers.vision.view import LEAST_HEIGHT, REDUCED, View, no_card, view_of

_SURE = 0.5
"""Score from which on something smaller is called a card: pages and patterns are full of small rectangles."""
_PROPORTION = 0.04
"""Logarithm by which a scan's proportion may differ from the card's."""
_ROUND_ENOUGH = 0.6
"""Edge along each corner's arc, from which on a picture is a scan that ends where the card does."""
_REACH = 2.5
_AROUND = 0.2
"""Of a card's size, shown around it when it is looked at once more."""
_WORTH = 1.4
"""Times as many pixels a side that are worth another look."""
_LINES = 56
_PROPOSALS = 600


@dataclass(frozen=True)
class Found:
    """points: 4 x 2, where the sides meet, clockwise from the card's upper left. score: 0..1, how sure it is."""

    points: Points
    score: float


def find_card(pixels: Pixels, aspect: float) -> Found:
    """The card of that width : height, turned by at most a quarter: which end is its top is not looked at.

    Raises RecordError 422 without a card, with several, with one that the picture cuts off, or with one under
    `LEAST_HEIGHT` pixels.
    """
    view = view_of(pixels)
    quads = _outlines(view.slopes, aspect)
    chosen = choose(view.slopes, quads, aspect, most=1)
    found = _placed(view, chosen[0], aspect) if chosen else _scanned(view, aspect)
    others = rivals(view.slopes, quads, aspect, chosen[0]) if chosen else 0
    high = _height(found)
    if high < LEAST_HEIGHT and found.score < _SURE:
        raise no_card()
    if others:
        raise RecordError(422, f"{others + 1} cards were found: send one card a picture")
    if high < LEAST_HEIGHT:
        raise RecordError(
            422, f"the card is only {high:.0f} pixels high: send a picture in which it has {LEAST_HEIGHT}"
        )
    if is_cut_off(view.slopes, view.reduced(found.points), aspect):
        raise RecordError(422, "the card is cut off by the picture's border: send a picture that shows all of it")
    return found


def find_cards(pixels: Pixels, aspect: float, most: int = 20) -> list[Found]:
    """Up to `most` whole cards of that width : height, `LEAST_HEIGHT` pixels high at least, surest first.

    Raises RecordError 422 for a picture that is too small to show one.
    """
    view = view_of(pixels)
    chosen: list[Chosen] = []
    slopes = view.slopes
    while more := choose(slopes, _outlines(slopes, aspect), aspect, most - len(chosen)):
        # A doubtful one may lie across cards that the next look would find.
        more = [one for one in more if one.score >= _SURE] or more[:1]
        chosen += [one for one in more if not any(covers(one.points, other.points) for other in chosen)]
        # The edges of those found leave no room for the lines of others: they are taken away for the next look.
        slopes = slopes.without([one.points for one in more])
    found = [_placed(view, one, aspect) for one in chosen]
    whole = [one for one in found if not is_cut_off(view.slopes, view.reduced(one.points), aspect)]
    return sorted((one for one in whole if _height(one) >= LEAST_HEIGHT), key=lambda one: -one.score)


def _outlines(slopes: Gradients, aspect: float) -> Points:
    height, width = slopes.size.shape
    return propose(gather(slopes, find_lines(slopes), _LINES), (width, height), aspect, _PROPOSALS)


def _placed(view: View, chosen: Chosen, aspect: float) -> Found:
    """To a fraction of a pixel of the whole picture."""
    points, scale = _closer(view.pixels, view.full(chosen.points), view.scale, aspect)
    return Found(out_of_shadow(view.pixels, refine(view.pixels, points, _REACH / scale)), chosen.score)


def _height(found: Found) -> float:
    return float(np.linalg.norm(found.points[[3, 2]] - found.points[[0, 1]], axis=1).mean())


def _closer(pixels: Pixels, points: Points, scale: float, aspect: float) -> tuple[Points, float]:
    """A small card once more in more of its pixels, and the scale that it was looked at in."""
    size = np.array([pixels.shape[1], pixels.shape[0]])
    margin = _AROUND * np.ptp(points, axis=0)
    first = np.maximum(np.floor(points.min(axis=0) - margin), 0).astype(int)
    last = np.minimum(np.ceil(points.max(axis=0) + margin), size).astype(int)
    closer = min(1.0, REDUCED / float((last - first).max()))
    if closer < _WORTH * scale:
        return points, scale
    part = pixels[first[1] : last[1], first[0] : last[0]]
    whole = np.rint((last - first) * closer).astype(int)
    seen = np.asarray(cv2.resize(part, whole.tolist(), interpolation=cv2.INTER_AREA), np.uint8)
    ratio = (last - first) / whole
    found = improve(gradients(seen), (points + 0.5 - first) / ratio - 0.5, aspect)
    return (found + 0.5) * ratio - 0.5 + first, closer


def _scanned(view: View, aspect: float) -> Found:
    """The whole picture, if it has a card's proportion and a card's round corners. Raises RecordError 422."""
    height, width = view.pixels.shape[:2]
    if abs(math.log(min(width, height) / max(width, height) / aspect)) > _PROPORTION:
        raise no_card()
    within = _corners(view.slopes.size.shape[1], view.slopes.size.shape[0])
    score = float(arcs(view.slopes, upright_first(within[None], aspect), aspect).min())
    if score < _ROUND_ENOUGH:
        raise no_card()
    return Found(upright_first(_corners(width, height)[None], aspect)[0], score)


def _corners(width: int, height: int) -> Points:
    return np.array([[0, 0], [width, 0], [width, height], [0, height]]) - 0.5
