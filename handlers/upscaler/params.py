"""The upscaler's endpoints and parameters, as Ximilar names them."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import Field

from handlers.contract import Params, Spec

Mode: TypeAlias = Literal["artifact_removal", "ironed_out", "high_fidelity"]


def _not_given() -> Any:
    return None


class UpscaleParams(Params):
    """`mode` chooses among the networks; without it the picture's compression does. `classic` is Lanczos-3."""

    factor: ClassVar[int]
    """How many times as wide and as high the result is."""

    # None only ever means "not given": one that is sent is refused, none is stored, the API's page shows no default.
    mode: Mode = Field(default_factory=_not_given, exclude_if=lambda mode: mode is None)
    model_type: Literal["classic", "gan"] = "gan"

    @property
    def chosen_mode(self) -> Mode | None:
        """None if it was not given."""
        return self.mode if "mode" in self.model_fields_set else None


class Upscale2x(UpscaleParams):
    factor = 2


class Upscale4x(UpscaleParams):
    factor = 4


class Upscale8x(UpscaleParams):
    factor = 8


SPEC = Spec(
    type="upscaler",
    endpoints={"upscale_2x": Upscale2x, "upscale_4x": Upscale4x, "upscale_8x": Upscale8x},
    default_endpoint="upscale_2x",
    handler="handlers.upscaler.handler:Upscaler",
    summary="Makes a picture 2, 4 or 8 times as wide and as high.",
)
