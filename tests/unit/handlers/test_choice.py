"""Which networks a picture gets."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PIL import Image

from handlers import imaging
from handlers.contract import Config
from handlers.upscaler.choice import variant
from handlers.upscaler.params import Upscale2x

Encode = Callable[..., bytes]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"mode": "high_fidelity"}, "clean"),
        ({"mode": "artifact_removal"}, "robust"),
        ({"mode": "ironed_out"}, "smooth"),
        ({"mode": "high_fidelity", "model_type": "gan"}, "clean"),
        ({"model_type": "classic"}, None),
        ({"mode": "ironed_out", "model_type": "classic"}, None),
    ],
)
def test_what_was_asked_for_decides(
    given: dict[str, str], expected: str | None, scene: Image.Image, encode: Encode, config: Config
) -> None:
    for file in (encode(scene, "PNG"), encode(scene, "JPEG", quality=30), encode(scene, "JPEG", quality=100)):
        params = Upscale2x.model_validate(given)
        assert variant(params, imaging.read_header(file, config)) == expected
        stored = Upscale2x.model_validate(params.model_dump(mode="json", by_alias=True))
        assert variant(stored, imaging.read_header(file, config)) == expected


@pytest.mark.parametrize(
    ("format", "options", "expected"),
    [
        ("JPEG", {"quality": 50}, "robust"),
        ("JPEG", {"quality": 75}, "robust"),
        ("JPEG", {"quality": 90}, "clean"),
        ("JPEG", {"quality": 97}, "clean"),
        ("PNG", {}, "clean"),
        ("BMP", {}, "clean"),
        ("TIFF", {}, "clean"),
        ("GIF", {}, "clean"),
        ("WEBP", {"lossless": True}, "clean"),
        ("WEBP", {"quality": 80}, "robust"),
        ("AVIF", {"quality": 60}, "robust"),
        ("HEIC", {}, "robust"),
    ],
)
def test_else_how_the_picture_was_compressed(
    format: str, options: dict[str, object], expected: str, scene: Image.Image, encode: Encode, config: Config
) -> None:
    source = imaging.read_header(encode(scene, format, **options), config)
    for given in ({}, {"model_type": "gan"}):
        params = Upscale2x.model_validate(given)
        assert variant(params, source) == expected
        stored = Upscale2x.model_validate(params.model_dump(mode="json", by_alias=True))
        assert variant(stored, source) == expected, "as a worker reads it"
