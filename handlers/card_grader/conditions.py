"""A grade in the words of marketplaces and grading companies, none of which has seen the card."""

from __future__ import annotations

from typing import Literal, TypeAlias

from handlers.contract import Facts

Mode: TypeAlias = Literal["ebay", "tcgplayer", "cardmarket", "psa", "bgs", "sgc", "cgc"]
Scale: TypeAlias = tuple[tuple[float, str], ...]
"""Least grade and its label, best first; the last one's grade is 1."""

_WORDS: dict[str, Scale] = {
    # eBay's four conditions of ungraded cards.
    "ebay": ((7.0, "Near mint or better"), (5.0, "Excellent"), (3.0, "Very good"), (1.0, "Poor")),
    # TCGplayer's five.
    "tcgplayer": (
        (7.0, "Near Mint"),
        (5.5, "Lightly Played"),
        (4.0, "Moderately Played"),
        (2.5, "Heavily Played"),
        (1.0, "Damaged"),
    ),
    # Cardmarket's seven.
    "cardmarket": (
        (9.5, "Mint"),
        (7.0, "Near Mint"),
        (5.5, "Excellent"),
        (4.5, "Good"),
        (3.5, "Light Played"),
        (2.0, "Played"),
        (1.0, "Poor"),
    ),
}
_COMPANIES: dict[str, Scale] = {
    "psa": (
        (10, "Gem Mint"),
        (9, "Mint"),
        (8, "Near Mint-Mint"),
        (7, "Near Mint"),
        (6, "Excellent-Mint"),
        (5, "Excellent"),
        (4, "Very Good-Excellent"),
        (3, "Very Good"),
        (2, "Good"),
        (1.5, "Fair"),
        (1, "Poor"),
    ),
    "bgs": (
        (10, "Pristine"),
        (9.5, "Gem Mint"),
        (9, "Mint"),
        (8, "Near Mint-Mint"),
        (7, "Near Mint"),
        (6, "Excellent-Mint"),
        (5, "Excellent"),
        (4, "Very Good-Excellent"),
        (3, "Very Good"),
        (2, "Good"),
        (1, "Poor"),
    ),
    "sgc": (
        (10, "Gem Mint"),
        (9.5, "Mint+"),
        (9, "Mint"),
        (8, "Near Mint-Mint"),
        (7, "Near Mint"),
        (6, "Excellent-Near Mint"),
        (5, "Excellent"),
        (4, "Very Good-Excellent"),
        (3, "Very Good"),
        (2, "Good"),
        (1.5, "Fair"),
        (1, "Poor"),
    ),
    "cgc": (
        (10, "Gem Mint"),
        (9.5, "Mint+"),
        (9, "Mint"),
        (8, "Near Mint/Mint"),
        (7, "Near Mint"),
        (6, "Excellent/Near Mint"),
        (5, "Excellent"),
        (4, "Very Good/Excellent"),
        (3, "Very Good"),
        (2, "Good"),
        (1.5, "Fair"),
        (1, "Poor"),
    ),
}
_NOT_GIVEN = {("psa", 9.5)}
"""Half grades that a company does not give; the one below is taken."""


def condition(grade: float, mode: Mode) -> Facts:
    """Ximilar's entry of `Condition`: label, its place on the scale from 1 (worst), the scale's best, and the mode."""
    if mode in _WORDS:
        scale = _WORDS[mode]
        place = _place(grade, scale)
        return {
            "label": scale[place][1],
            "scale_value": len(scale) - place,
            "max_scale_value": len(scale),
            "mode": mode,
        }
    scale = _COMPANIES[mode]
    given = grade - 0.5 if (mode, grade) in _NOT_GIVEN else grade
    return {"label": scale[_place(given, scale)][1], "scale_value": given, "max_scale_value": 10, "mode": mode}


def in_words(grade: float) -> str:
    """As Ximilar's `grades` have it: Near Mint for a 7.5."""
    return _COMPANIES["psa"][_place(grade, _COMPANIES["psa"])][1]


def _place(grade: float, scale: Scale) -> int:
    return next(place for place, (least, _) in enumerate(scale) if grade >= least)
