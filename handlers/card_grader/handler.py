"""One photograph of a card in; where the card is, the card laid straight, and how it is centred and worn out."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from handlers import imaging
from handlers.card_grader import places, scale
from handlers.card_grader.centering import centering, unmeasured
from handlers.card_grader.conditions import condition, in_words
from handlers.card_grader.findings import Measured, Part, judge
from handlers.card_grader.frame import Frame, find_frame
from handlers.card_grader.params import CardParams, Centering, Condition, CropLevel, Grade
from handlers.card_grader.report import draw
from handlers.card_grader.sides import BACK, combine, side_of
from handlers.card_grader.tags import tags
from handlers.card_grader.views import HEIGHT, Views
from handlers.contract import Box, Config, Facts, Output, Record
from handlers.vision import find_card, to_rgb
from handlers.vision.geometry import Points
from handlers.vision.pixels import to_picture

METHOD = "vision rules, not a certified grade"
VERSION = "classical-1"


class CardGrader:
    """Nothing here is learned, and the same photograph gives the same answer."""

    _config: Config

    def setup(self, config: Config) -> None:
        imaging.setup(config)
        cv2.setNumThreads(config.threads)
        self._config = config

    def run(self, record: Record, params: CardParams, box: Box) -> Facts:
        """Facts in Ximilar's names. Raises RecordError 422 without exactly one card that is large enough."""
        source = imaging.read_header(record.image, self._config)
        pixels = to_rgb(source.decode())
        found = find_card(pixels, params.aspect)
        # Outwards, points count from the picture's outer corner; inside, from its first pixel's centre.
        points = found.points + 0.5
        facts: Facts = {
            "_width": source.width,
            "_height": source.height,
            "_objects": places.objects(points, found.score, source.width, source.height),
            "_points": np.round(points, 4).tolist(),
            "card": [places.card(points, source.width, source.height)],
            "versions": {"detection": VERSION, "points": VERSION},
            "_method": METHOD,
        }
        views = Views(pixels, found.points, params.aspect)
        side = side_of(record.fields)
        if isinstance(params, Grade):
            _grade(facts, views, points, side, box)
        elif isinstance(params, Condition):
            _condition(facts, views, params, side)
        elif isinstance(params, Centering):
            _centering(facts, views, side, box)
        elif isinstance(params, CropLevel):
            facts["_full_url_card"] = _save(views.full, "full", box)
            facts["_exact_url_card"] = _save(views.exact, "exact", box)
        else:
            facts |= {"corners": places.corners(points), "edges": places.edges(points)}
            facts["versions"] |= {"corners": VERSION, "edges": VERSION}
        return facts

    def combine(self, facts: Sequence[Facts]) -> Facts:
        """The grades of a front and a back together; nothing unless both were graded."""
        return combine(facts)


def _grade(facts: Facts, views: Views, points: Points, side: str | None, box: Box) -> None:
    condition = judge(views)
    centred, frame = _centred(views, side)
    facts["corners"] = _judged(places.corners(points), condition.corners, views)
    facts["edges"] = _judged(places.edges(points), condition.edges, views)
    (surface,) = _judged([{}], [condition.surface], views)
    facts["card"][0] |= {
        "_tags": tags(facts["_objects"][0]["prob"], _worst(condition), side),
        "surface": surface,
        "centering": centred,
    }
    facts["versions"] |= dict.fromkeys(("corners", "edges", "surface", "centering", "final"), VERSION)
    facts["grades"] = grades = _grades(condition, centred["grade"])
    facts["_finest_mm"] = round(condition.pixel, 3)
    facts["_full_url_card"] = _save(views.full, "full", box)
    facts["_exact_url_card"] = _save(views.exact, "exact", box)
    facts["_report_url"] = _save(draw(views, frame, condition, grades, centred), "report", box)


def _judged(where: Sequence[Facts], parts: Sequence[Part], views: Views) -> list[Facts]:
    """Parts as they are shown: where they are, their grades and what is wrong with them."""
    return [
        {**place, "grade": part.grade, "_findings": places.findings(part.findings, views)}
        for place, part in zip(where, parts, strict=True)
    ]


def _condition(facts: Facts, views: Views, params: Condition, side: str | None) -> None:
    measured = judge(views)
    final = grades_of(views, measured, side)["final"]
    facts["_objects"][0]["Condition"] = [condition(final, params.mode)]
    facts["card"][0]["_tags"] = tags(facts["_objects"][0]["prob"], _worst(measured), side)
    facts["versions"]["condition"] = VERSION


def _centering(facts: Facts, views: Views, side: str | None, box: Box) -> None:
    centred, _ = _centred(views, side)
    facts["card"][0] |= {"_tags": tags(facts["_objects"][0]["prob"], None, side), "centering": centred}
    facts["versions"]["centering"] = VERSION
    facts["grades"] = {"centering": centred["grade"]}
    facts["_exact_url_card"] = _save(views.exact, "exact", box)
    facts["_clean_url_card"] = _save(views.clean, "clean", box)


def grades_of(views: Views, condition: Measured, side: str | None = None) -> Facts:
    """Ximilar's `grades` of a card laid straight."""
    return _grades(condition, _centred(views, side)[0]["grade"])


def _grades(condition: Measured, centred: float | None) -> Facts:
    """What cannot be measured is left out of the final grade."""
    corners, edges = (scale.mean(part.grade for part in parts) for parts in (condition.corners, condition.edges))
    parts = [corners, edges, condition.surface.grade] + ([] if centred is None else [centred])
    final = scale.mean(parts)
    return {
        "corners": corners,
        "edges": edges,
        "surface": condition.surface.grade,
        "centering": centred,
        "final": final,
        "condition": in_words(final),
    }


def _worst(condition: Measured) -> float:
    return min(part.grade for part in (*condition.corners, *condition.edges, condition.surface))


def _centred(views: Views, side: str | None) -> tuple[Facts, Frame | None]:
    frame = find_frame(views.exact)
    if frame is None:
        return unmeasured(), None
    return centering(frame, views.exact.shape[1], HEIGHT, back=side == BACK), frame


def _save(pixels: NDArray[np.uint8], stem: str, box: Box) -> Output:
    return imaging.save(to_picture(pixels), imaging.Encoding(imaging.Format.WEBP), stem, box)
