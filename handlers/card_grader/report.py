"""A picture that explains a grade: the card, what was measured on it, and the figures beside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from handlers.card_grader.findings import Finding, Measured
from handlers.card_grader.frame import Frame
from handlers.card_grader.views import MILLIMETRE, Views
from handlers.contract import Facts
from handlers.vision.geometry import Points

_PANEL = 620
"""Pixels beside the card."""
_BACKGROUND, _INK, _FAINT = (250, 250, 248), (30, 34, 40), (120, 126, 134)
_FRAME = (0, 150, 255)
_MARKS = {
    "whitening": (255, 0, 160),
    "rounding": (255, 120, 0),
    "chip": (255, 60, 0),
    "scratch": (255, 220, 0),
    "print line": (0, 220, 220),
    "dent": (170, 90, 255),
}
_NAMES = ("upper left", "upper right", "lower right", "lower left"), ("upper", "right", "lower", "left")
_DISCLAIMER = "Measured by vision rules; not a certified grade."
_LISTED = 9
"""Findings that are told in words; all are drawn."""


def draw(views: Views, frame: Frame | None, condition: Measured, grades: Facts, centering: Facts) -> NDArray[np.uint8]:
    """Height x width x 3: the card at `MILLIMETRE` pixels a millimetre, marked, with a panel at its right."""
    card = Image.fromarray(views.full)
    page = Image.new("RGB", (card.width + _PANEL, card.height), _BACKGROUND)
    page.paste(card, (0, 0))
    pen = ImageDraw.Draw(page)
    if frame is not None:
        _draw_frame(pen, views, frame)
    parts = [*condition.corners, *condition.edges, condition.surface]
    findings = [finding for part in parts for finding in part.findings]
    for finding in findings:
        _draw_finding(pen, views, finding)
    _draw_grades(pen, views, condition)
    _write_panel(pen, card.width + 36, grades, centering, condition)
    return np.asarray(page, np.uint8)


def _on_page(views: Views, places: Points) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in places * MILLIMETRE + views.margin]


def _draw_frame(pen: ImageDraw.ImageDraw, views: Views, frame: Frame) -> None:
    height, width = views.exact.shape[:2]
    box = (frame.left, frame.top, width - frame.right, height - frame.bottom)
    pen.rectangle([value + views.margin for value in box], outline=_FRAME, width=3)
    pen.rectangle(
        [views.margin, views.margin, width + views.margin - 1, height + views.margin - 1], outline=_FRAME, width=2
    )
    middle = views.margin + width / 2, views.margin + height / 2
    for text, place, anchor in (
        (f"{frame.left / MILLIMETRE:.2f}", (frame.left + views.margin + 8, middle[1]), "lm"),
        (f"{frame.right / MILLIMETRE:.2f}", (width - frame.right + views.margin - 8, middle[1]), "rm"),
        (f"{frame.top / MILLIMETRE:.2f}", (middle[0], frame.top + views.margin + 8), "ma"),
        (f"{frame.bottom / MILLIMETRE:.2f} mm", (middle[0], height - frame.bottom + views.margin - 8), "md"),
    ):
        _label(pen, place, text, anchor=anchor, ink=_FRAME)


def _draw_finding(pen: ImageDraw.ImageDraw, views: Views, finding: Finding) -> None:
    shape = _on_page(views, finding.outline)
    colour = _MARKS[finding.kind]
    if finding.is_line:
        (left, top), (right, bottom) = shape
        aside = np.array([-(bottom - top), right - left]) / max(float(np.hypot(right - left, bottom - top)), 1) * 12
        for side in (-1, 1):
            ends = [(x + side * float(aside[0]), y + side * float(aside[1])) for x, y in shape]
            pen.line(ends, fill=colour, width=3)
        return
    pen.line([*shape, shape[0]], fill=colour, width=3)


def _draw_grades(pen: ImageDraw.ImageDraw, views: Views, condition: Measured) -> None:
    """At each corner and edge, outside the card's print where that has room."""
    height, width = views.exact.shape[:2]
    centre = np.array([width, height]) / 2 + views.margin
    reach = centre - 26
    corners, edges = [(-1, -1), (1, -1), (1, 1), (-1, 1)], [(0, -1), (1, 0), (0, 1), (-1, 0)]
    for part, way in zip(condition.corners + condition.edges, corners + edges, strict=True):
        x, y = centre + reach * way
        # A third along its edge, clear of the border's width.
        shift = (np.array([0.22 * width, 0]) if way[0] == 0 else np.array([0, 0.22 * height])) if 0 in way else 0
        colour = _INK if part.grade >= 9 else (200, 110, 0) if part.grade >= 6 else (200, 0, 30)
        x, y = np.array([x, y]) + shift
        _label(pen, (float(x), float(y)), f"{part.grade:g}", anchor="mm", ink=(255, 255, 255), ground=colour)


def _label(
    pen: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    *,
    anchor: str,
    ink: tuple[int, int, int],
    ground: tuple[int, int, int] = _BACKGROUND,
) -> None:
    font = ImageFont.load_default(26)
    left, top, right, bottom = pen.textbbox(place, text, font=font, anchor=anchor)
    pen.rounded_rectangle((left - 6, top - 5, right + 6, bottom + 5), 6, fill=ground)
    pen.text(place, text, fill=ink, font=font, anchor=anchor)


def _write_panel(pen: ImageDraw.ImageDraw, left: int, grades: Facts, centering: Facts, condition: Measured) -> None:
    top = 40
    pen.text((left, top), f"{grades['final']:g}", fill=_INK, font=ImageFont.load_default(120))
    pen.text((left + 210, top + 58), grades["condition"], fill=_INK, font=ImageFont.load_default(40))
    top += 160
    for part in ("corners", "edges", "surface", "centering"):
        value = "not measurable" if grades[part] is None else f"{grades[part]:g}"
        pen.text((left, top), part.capitalize(), fill=_FAINT, font=ImageFont.load_default(34))
        pen.text((left + 210, top), value, fill=_INK, font=ImageFont.load_default(34))
        top += 50
    if grades["centering"] is not None:
        text = f"left/right {centering['left/right']}, top/bottom {centering['top/bottom']}"
        pen.text((left, top), text, fill=_FAINT, font=ImageFont.load_default(28))
    top += 70
    lines = _told(condition)
    pen.text(
        (left, top),
        f"Findings: {len(lines)}" if lines else "No damage found",
        fill=_INK,
        font=ImageFont.load_default(34),
    )
    top += 56
    for kind, text in lines[:_LISTED]:
        pen.rectangle((left, top + 6, left + 22, top + 28), fill=_MARKS[kind])
        pen.text((left + 36, top), text, fill=_INK, font=ImageFont.load_default(27))
        top += 44
    if len(lines) > _LISTED:
        pen.text(
            (left + 36, top), f"and {len(lines) - _LISTED} smaller ones", fill=_FAINT, font=ImageFont.load_default(27)
        )
    note = f"{_DISCLAIMER}\nOne pixel is {condition.pixel:.2f} mm of the card;\nfiner damage is not seen."
    pen.multiline_text((left, 1300), note, fill=_FAINT, font=ImageFont.load_default(25), spacing=10)


def _told(condition: Measured) -> list[tuple[str, str]]:
    """Kind and words of each finding, what weighs most in its part first."""
    told = []
    named = [(f"{name} corner", part) for name, part in zip(_NAMES[0], condition.corners, strict=True)]
    named += [(f"{name} edge", part) for name, part in zip(_NAMES[1], condition.edges, strict=True)]
    for place, part in named:
        told += [(one.size, one.kind, f"{one.kind}, {place}: {one.size:.1f} sq mm") for one in part.findings]
    for one in condition.surface.findings:
        size = f"{one.size:.0f} mm" if one.is_line else f"{one.depth:.1f} mm across"
        told.append((one.size / 8, one.kind, f"{one.kind}: {size}"))
    return [(kind, text) for _, kind, text in sorted(told, key=lambda line: -line[0])]
