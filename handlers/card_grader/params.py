"""The card grader's endpoints and parameters, as Ximilar names them."""

from __future__ import annotations

from pydantic import Field

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


SPEC = Spec(
    type="card-grader",
    endpoints={"localize": Localize, "crop_level": CropLevel, "centering": Centering},
    default_endpoint="centering",
    handler="handlers.card_grader.handler:CardGrader",
    summary="Finds a trading card, lays it straight and measures it by vision rules; not a certified grade.",
    time_limit=60.0,
)
