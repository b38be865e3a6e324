"""Ximilar's tags of a card: what is measured or told, and even odds for what vision rules cannot know."""

from __future__ import annotations

from uuid import UUID, uuid5

from handlers.card_grader.sides import FRONT
from handlers.contract import Facts

CARD = UUID("6f0d3a52-0f2c-5d0e-9a61-2c1d8f4b7e10")
"""Id of the label Card, always the same; those of tags are made from it and their names."""
_HARMED_FROM = 4.0
"""Grade of a part at which, and below, the card is called damaged."""


def tags(found: float, worst: float | None, side: str | None) -> dict[str, list[Facts]]:
    """found: how sure it is a card. worst: the least grade of its parts; None if they were not graded.

    side: as told. What kind of card it is and whether somebody signed it is not looked at: the kind is just Card, and
    there is no tag for a signature.
    """
    given: dict[str, list[Facts]] = {"Category": [_tag("Card", found)]}
    if worst is not None:
        given["Damaged"] = [_tag("Damaged" if worst <= _HARMED_FROM else "OK", 1.0)]
    given["Autograph"] = []
    given["Side"] = [_tag(side or FRONT, 1.0 if side else 0.5)]
    return given


def _tag(name: str, prob: float) -> Facts:
    return {"prob": round(prob, 5), "name": name, "id": str(uuid5(CARD, name))}
