"""Centering: how evenly the print lies between a card's sides, and its grade by the published tolerances."""

from __future__ import annotations

from handlers.card_grader.frame import Frame
from handlers.contract import Facts

NOT_MEASURABLE = "not measurable"
"""In place of a ratio where a card has no printed border."""

_TOLERANCES = (
    (52, 10.0),
    (55, 9.5),
    (60, 9.0),
    (62, 8.5),
    (65, 8.0),
    (67, 7.5),
    (70, 7.0),
    (75, 6.5),
    (80, 6.0),
    (82, 5.5),
    (85, 5.0),
    (87, 4.0),
    (90, 3.0),
)
"""Greatest share of the wider border in percent, whole -> grade of a front.

9, 8, 7, 6, 5 and 3: PSA's grading standards (60/40, 65/35, 70/30, 80/20, 85/15, 90/10 on the front). 9.5: 55/45,
Beckett's Gem Mint and PSA's 10 since 2025. 10: Beckett's 50/50, with two points for what a photograph can tell. The
others lie between.
"""
_OF_A_BACK = ((75, 10.0), (80, 9.5), (90, 9.0), (92, 7.0), (95, 5.0))
"""The same of a back, on which less depends. 10 and 9: PSA's 75/25 and 90/10; it gives no other limits for backs."""
_WORST = 1.0


def centering(frame: Frame, width: int, height: int, back: bool = False) -> Facts:
    """Ximilar's object `centering` of a card straightened to `width` x `height` pixels; contracts as its answers show.

    pixels: borders left, top, right, bottom, cut to whole pixels. offsets: the same as shares of the card's width and
    height. bound_box: the inner frame.
    """
    borders = (frame.left, frame.top, frame.right, frame.bottom)
    left, top, right, bottom = (int(border) for border in borders)
    across, along = share(frame.left, frame.right), share(frame.top, frame.bottom)
    return {
        "left/right": f"{across}/{100 - across}",
        "top/bottom": f"{along}/{100 - along}",
        "bound_box": [left, top, width - right, height - bottom],
        "pixels": [left, top, right, bottom],
        "offsets": [
            round(border / side, 4) for border, side in zip(borders, (width, height, width, height), strict=True)
        ],
        "grade": grade(across, along, back),
    }


def unmeasured() -> Facts:
    """The same keys for a card without a printed border."""
    nothing = {"bound_box": None, "pixels": None, "offsets": None, "grade": None}
    return {"left/right": NOT_MEASURABLE, "top/bottom": NOT_MEASURABLE, **nothing}


def share(one: float, other: float) -> int:
    """Percent of the first border in both, whole."""
    return round(100 * one / (one + other))


def grade(across: int, along: int, back: bool = False) -> float:
    """1..10 in halves, of the worse of two shares in percent."""
    worse = max(across, 100 - across, along, 100 - along)
    return next((grade for most, grade in (_OF_A_BACK if back else _TOLERANCES) if worse <= most), _WORST)
