"""Where the card and its parts are, in Ximilar's names: whole pixels of the input picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from handlers.card_grader.findings import Finding
from handlers.card_grader.tags import CARD
from handlers.card_grader.views import Views
from handlers.contract import Facts
from handlers.vision.geometry import Points

_CORNERS = ("UPPER_LEFT", "UPPER_RIGHT", "DOWN_RIGHT", "DOWN_LEFT")
_EDGES = ("UPPER", "RIGHT", "DOWN", "LEFT")
_OUTWARDS, _CORNER_INWARDS, _EDGE_INWARDS = 0.0365, 0.0685, 0.073
"""Of the card's width: how far boxes reach from its corners and sides, as in the vendor's captured answer."""
_INWARDS = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])


def objects(points: Points, score: float, width: int, height: int) -> list[Facts]:
    """The one detected card."""
    return [{"name": "Card", "id": str(CARD), "bound_box": _bounds(points, width, height), "prob": round(score, 5)}]


def card(points: Points, width: int, height: int) -> Facts:
    """The card's polygon and box."""
    return {"name": "CARD", "polygon": points.astype(int).tolist(), "bound_box": _bounds(points, width, height)}


def corners(points: Points) -> list[Facts]:
    """Boxes around the four corners, clockwise from the upper left, cut off at 0."""
    size = _width(points)
    found = []
    for name, point, inwards in zip(_CORNERS, points, _INWARDS, strict=True):
        ends = np.array([point - inwards * _OUTWARDS * size, point + inwards * _CORNER_INWARDS * size])
        box = np.maximum(np.concatenate([ends.min(axis=0), ends.max(axis=0)]), 0)
        found.append({"name": name, "bound_box": box.astype(int).tolist(), "point": point.astype(int).tolist()})
    return found


def edges(points: Points) -> list[Facts]:
    """Bands along the four sides between the corners, upper first; they reach outside the card, so below 0 at times."""
    size = _width(points)
    inset = points + _INWARDS * _EDGE_INWARDS * size
    normals = np.array([[0, -1], [1, 0], [0, 1], [-1, 0]]) * (_OUTWARDS + _EDGE_INWARDS) * size
    found = []
    for place, name in enumerate(_EDGES):
        begin, end = inset[place], inset[(place + 1) % 4]
        band = np.array([begin + normals[place], end + normals[place], end, begin])
        found.append({"name": name, "polygon": band.astype(int).tolist()})
    return found


def findings(found: Sequence[Finding], views: Views) -> list[Facts]:
    """What is wrong with a part: its outline in the picture, and its size on the card (ours; the vendor tells none)."""
    return [
        {
            "name": finding.kind,
            "polygon": np.round(_simple(views.seen(finding.outline)), 1).tolist(),
            "mm" if finding.is_line else "mm2": round(finding.size, 2),
        }
        for finding in found
    ]


def _simple(outline: Points) -> Points:
    """With fewer points, less than a pixel off."""
    if len(outline) == 2:
        return outline
    fewer = cv2.approxPolyDP(outline.astype(np.float32)[:, None], 0.7, closed=True)
    return np.asarray(fewer, np.float64)[:, 0]


def _width(points: Points) -> float:
    return float(np.linalg.norm(points[1] - points[0]) + np.linalg.norm(points[2] - points[3])) / 2


def _bounds(points: Points, width: int, height: int) -> list[int]:
    left, top = np.clip(points.min(axis=0), 0, (width, height)).astype(int)
    right, bottom = np.clip(points.max(axis=0), 0, (width, height)).astype(int)
    return [int(left), int(top), int(right), int(bottom)]
