"""The card grader's endpoints and parameters, as Ximilar names them."""

from __future__ import annotations

from pydantic import Field

from handlers.card_grader.conditions import Mode
from handlers.contract import Params, Spec


class CardParams(Params):
    """`aspect` is ours: cards of other shapes are found by it."""

    aspect: float = Field(63 / 88, ge=0.4, le=1.0, description="Width by height of the upright card, in millimetres.")


class Localize(CardParams):
    """Where the card, its corners and its edges are."""


class CropLevel(CardParams):
    """The card cut out and laid straight."""


class Centering(CardParams):
    """How wide the printed border is on each side."""


class Grade(CardParams):
    """Corners, edges, surface and centering, each with its grade."""


class Condition(CardParams):
    """The card's condition in the words of a marketplace or a grading company."""

    mode: Mode = Field("ebay", description="Whose words.")


SPEC = Spec(
    type="card-grader",
    endpoints={
        "grade": Grade,
        "condition": Condition,
        "centering": Centering,
        "localize": Localize,
        "crop_level": CropLevel,
    },
    default_endpoint="grade",
    handler="handlers.card_grader.handler:CardGrader",
    summary="Finds a trading card, lays it straight and grades it by vision rules; not a certified grade.",
    time_limit=60.0,
)
