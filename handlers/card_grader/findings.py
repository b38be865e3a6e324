"""What is wrong with a card, found and measured: each with its place, its size, and the grade of its part."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from handlers.card_grader import scale
from handlers.card_grader.dents import find_dents
from handlers.card_grader.rim import ALONG, RADIUS, Rim, unroll
from handlers.card_grader.scratches import find_lines
from handlers.card_grader.views import Views
from handlers.card_grader.wear import Worn, measure, stretches
from handlers.vision.geometry import Points
from handlers.vision.profile import Floats

_WANDERS, _WANDERS_PIXELS = 0.1, 0.8
"""Millimetres, and pixels of the photograph, that an outline may lie inside without being worn."""
_RESTLESS = 4.0
"""Standard deviations of an outline's wandering, the same."""
_LEAST_CHIP = 0.15
"""Square millimetres."""
_SHORT = 0.3
"""Millimetres along the outline: less is noise."""
_ROUNDEST, _SHARPEST = 3.5, 2.75
"""Millimetres: radii of new cards' corners lie between."""
_PRINT_LINE = 0.2
"""Millimetres of scratch that a millimetre of print line counts as."""
_DENT = 6.0
"""Millimetres of scratch that a dent counts as, for each millimetre of its radius."""


@dataclass(frozen=True)
class Finding:
    """kind: whitening, rounding, chip, scratch, print line or dent. outline: n x 2, millimetres from the card's upper
    left corner. size: square millimetres; millimetres of lines. depth: how far inwards, or across, in millimetres.
    """

    kind: str
    outline: Points
    size: float
    depth: float

    @property
    def is_line(self) -> bool:
        return len(self.outline) == 2


@dataclass(frozen=True)
class Part:
    """A corner, an edge or the surface. damage: in the unit of its row in `scale`."""

    damage: float
    grade: float
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class Measured:
    """corners: clockwise from the upper left. edges: clockwise from the upper one. pixel: millimetres a pixel takes."""

    corners: list[Part]
    edges: list[Part]
    surface: Part
    pixel: float


def judge(views: Views) -> Measured:
    """Of a card laid straight."""
    rim = unroll(views)
    worn = measure(rim)
    missing = [_missing(rim, worn, rows) for rows in rim.corners]
    # All four were cut by one die: what the second sharpest lacks is the ideal, if a new card's may lack it.
    usual = float(np.clip(sorted(missing)[1], _beyond(_SHARPEST), _beyond(_ROUNDEST)))
    corners = [_corner(rim, worn, rows, lost - usual) for rows, lost in zip(rim.corners, missing, strict=True)]
    return Measured(corners, [_edge(rim, worn, rows) for rows in rim.edges], _surface(views), rim.pixel)


def _beyond(radius: float) -> float:
    """Square millimetres by which an arc of that radius cuts off more than one of `RADIUS`."""
    return (1 - np.pi / 4) * (radius**2 - RADIUS**2)


def _area(rim: Rim, rows: slice, begin: Floats, depth: Floats) -> float:
    """Square millimetres of what reaches `depth` inwards from `begin`; less than its length where the rim is bent."""
    return float((depth * (1 - np.clip(begin + depth / 2, 0, RADIUS) * rim.bend[rows]) * ALONG).sum())


def _missing(rim: Rim, worn: Worn, rows: slice) -> float:
    edge = np.nan_to_num(worn.edge[rows])
    return _area(rim, rows, np.zeros_like(edge), edge)


def _corner(rim: Rim, worn: Worn, rows: slice, lost: float) -> Part:
    findings = _whitening(rim, worn, rows)
    edge = np.maximum(np.nan_to_num(worn.edge[rows]), 0)
    deep = np.flatnonzero(edge > max(_WANDERS, _WANDERS_PIXELS * rim.pixel))
    if lost > 0 and len(deep):
        gone = slice(int(deep[0]), int(deep[-1]) + 1)
        here = slice(rows.start + gone.start, rows.start + gone.stop)
        outline = _strip(rim, here, np.zeros_like(edge[gone]), edge[gone])
        findings.append(Finding("rounding", outline, lost, float(edge.max())))
    damage = sum(one.size for one in findings)
    return Part(damage, scale.grade(damage, scale.CORNER), findings)


def _edge(rim: Rim, worn: Worn, rows: slice) -> Part:
    findings = _whitening(rim, worn, rows) + _chips(rim, worn, rows)
    damage = sum(one.size for one in findings)
    return Part(damage, scale.grade(damage, scale.EDGE), findings)


def _chips(rim: Rim, worn: Worn, rows: slice) -> list[Finding]:
    edge = worn.edge[rows]
    if np.isnan(edge).all():
        return []
    # Most of an edge may be worn off; a fourth of it is taken for whole.
    whole = float(np.nanpercentile(edge, 25))
    depth = np.nan_to_num(edge - whole)
    restless = 1.4826 * float(np.nanmedian(np.abs(edge - np.nanmedian(edge))))
    deep = depth > max(_WANDERS, _WANDERS_PIXELS * rim.pixel, _RESTLESS * restless)
    return _stretches("chip", rim, rows, np.zeros_like(depth), np.where(deep, depth, 0.0), least=_LEAST_CHIP)


def _whitening(rim: Rim, worn: Worn, rows: slice) -> list[Finding]:
    return _stretches("whitening", rim, rows, np.maximum(np.nan_to_num(worn.edge[rows]), 0), worn.white[rows])


def _stretches(kind: str, rim: Rim, rows: slice, begin: Floats, depth: Floats, *, least: float = 0.0) -> list[Finding]:
    """Where `depth` is not 0, of places that follow each other."""
    found = []
    for part in stretches(depth > 0):
        if (part.stop - part.start) * ALONG < _SHORT:
            continue
        here = slice(rows.start + part.start, rows.start + part.stop)
        size = _area(rim, here, begin[part], depth[part])
        if size < least:
            continue
        outline = _strip(rim, here, begin[part], depth[part])
        found.append(Finding(kind, outline, size, float(depth[part].max())))
    return found


def _strip(rim: Rim, rows: slice, begin: Floats, depth: Floats) -> Points:
    """The outline of a strip along the rim, from `begin` as deep as `depth`."""
    places, normals = rim.places[rows], rim.normals[rows]
    outer, inner = places + normals * begin[:, None], places + normals * (begin + depth)[:, None]
    return np.concatenate([outer, inner[::-1]])


def _surface(views: Views) -> Part:
    findings, damage = [], 0.0
    for line in find_lines(views.exact):
        kind, counts = ("print line", _PRINT_LINE) if line.across else ("scratch", 1.0)
        findings.append(Finding(kind, line.ends, line.length, 0.0))
        damage += counts * line.length
    for dent in find_dents(views.exact):
        turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        around = dent.place + dent.radius * np.column_stack([np.cos(turn), np.sin(turn)])
        findings.append(Finding("dent", around, np.pi * dent.radius**2, 2 * dent.radius))
        damage += _DENT * dent.radius
    return Part(damage, scale.grade(damage, scale.SURFACE), findings)
