"""Front and back: which side a record shows, and the grades of both together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from handlers.card_grader import scale
from handlers.card_grader.conditions import in_words
from handlers.contract import Facts

FRONT, BACK = "Front", "Back"
_SHARE_OF_FRONT = 0.7
_PARTS = ("corners", "edges", "surface", "centering", "final")


def side_of(fields: Mapping[str, object]) -> str | None:
    """What the customer says in the record's `Side`; None if nothing or something else."""
    side = str(fields.get("Side", "")).capitalize()
    return side if side in (FRONT, BACK) else None


def combine(records: Sequence[Facts]) -> Facts:
    """Ximilar's `grades` of a front (70 %) and a back (30 %), rounded to halves. Empty unless both were graded.

    records: two results of `grade`. One that is not told to be the back is the front; of two that are told nothing,
    the first is.
    """
    if len(records) != 2 or any(not one.get("grades", {}).get("final") for one in records):
        return {}
    sides = [_told(one) for one in records]
    if sides[0] is not None and sides[0] == sides[1]:
        return {}
    front, back = records if sides[0] != BACK and sides[1] != FRONT else records[::-1]
    grades = {part: _both(front["grades"][part], back["grades"][part]) for part in _PARTS}
    return {"grades": {**grades, "condition": in_words(grades["final"] or 1.0)}}


def _told(record: Facts) -> str | None:
    tags = record["card"][0]["_tags"]["Side"]
    return tags[0]["name"] if tags and tags[0]["prob"] == 1.0 else None


def _both(front: float | None, back: float | None) -> float | None:
    """A side on which a part cannot be measured leaves it to the other."""
    if front is None or back is None:
        return front if back is None else back
    return scale.halves(_SHARE_OF_FRONT * front + (1 - _SHARE_OF_FRONT) * back)
