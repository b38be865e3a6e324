"""Which networks enlarge a picture: by what was asked for, else by how the picture was compressed."""

from __future__ import annotations

from handlers.imaging import Source
from handlers.upscaler.params import UpscaleParams

_BY_MODE = {"high_fidelity": "clean", "artifact_removal": "robust", "ironed_out": "smooth"}
_CLEAN_QUALITY = 87
"""From this JPEG quality on `clean` gains more than `robust` (docs/handlers.md)."""


def variant(params: UpscaleParams, source: Source) -> str | None:
    """Name of a slot without its factor; None for the classical filter."""
    if params.model_type == "classic":
        return None
    if params.chosen_mode is not None:
        return _BY_MODE[params.chosen_mode]
    if source.quality is not None:
        return "clean" if source.quality >= _CLEAN_QUALITY else "robust"
    return "robust" if source.lossy else "clean"
