"""One photograph of a card in; where the card is, the card laid straight, and how it is centred out."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from handlers import imaging
from handlers.card_grader import places
from handlers.card_grader.centering import centering, unmeasured
from handlers.card_grader.frame import find_frame
from handlers.card_grader.params import CardParams, Centering, CropLevel
from handlers.card_grader.views import HEIGHT, Views
from handlers.contract import Box, Config, Facts, Output, Record
from handlers.vision import find_card, to_rgb
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
        }
        card = places.card(points, source.width, source.height)
        versions = {"detection": VERSION, "points": VERSION}
        if isinstance(params, Centering):
            views = Views(pixels, found.points, params.aspect)
            card["centering"] = _centering(views)
            facts |= {"card": [card], "versions": {**versions, "centering": VERSION}}
            facts["grades"] = {"centering": card["centering"]["grade"]}
            facts |= {
                "_exact_url_card": _save(views.exact, "exact", box),
                "_clean_url_card": _save(views.clean, "clean", box),
            }
        elif isinstance(params, CropLevel):
            views = Views(pixels, found.points, params.aspect)
            facts |= {"card": [card], "versions": versions}
            facts |= {
                "_full_url_card": _save(views.full, "full", box),
                "_exact_url_card": _save(views.exact, "exact", box),
            }
        else:
            facts |= {"corners": places.corners(points), "edges": places.edges(points), "card": [card]}
            facts["versions"] = {**versions, "corners": VERSION, "edges": VERSION}
        return {**facts, "_method": METHOD}


def _centering(views: Views) -> Facts:
    frame = find_frame(views.exact)
    if frame is None:
        return unmeasured()
    return centering(frame, views.exact.shape[1], HEIGHT)


def _save(pixels: NDArray[np.uint8], stem: str, box: Box) -> Output:
    return imaging.save(to_picture(pixels), imaging.Encoding(imaging.Format.WEBP), stem, box)
