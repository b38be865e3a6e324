"""The upscaler's endpoints and parameters, as Ximilar names them."""

from __future__ import annotations

from typing import ClassVar, Literal

from handlers.contract import Params, Spec


class UpscaleParams(Params):
    """`mode` and `model_type` choose among learned models; Lanczos-3 has no variants, so both are without effect."""

    factor: ClassVar[int]
    """How many times as wide and as high the result is."""

    mode: Literal["artifact_removal", "ironed_out", "high_fidelity"] = "artifact_removal"
    model_type: Literal["classic", "gan"] = "gan"


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
