"""Pictures come back upright, turned exactly once, with nothing left that would turn them again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PIL import Image, ImageOps

from handlers.contract import Facts

ORIENTATION = 0x0112
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Orientation -> what makes the stored picture upright (EXIF 2.3, tag 274)."""


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
@pytest.mark.parametrize("orientation", TURNS)
def test_picture_comes_back_upright(
    orientation: int,
    format: str,
    scene: Image.Image,
    encode: Callable[..., bytes],
    upscale: Callable[..., tuple[Facts, Image.Image]],
    difference: Callable[[Image.Image, Image.Image], float],
) -> None:
    turn = TURNS[orientation]
    upright = scene.transpose(turn) if turn is not None else scene
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    facts, result = upscale(encode(scene, format, exif=exif.tobytes() if format == "HEIC" else exif))
    assert (facts["_width"], facts["_height"]) == upright.size
    assert result.getexif().get(ORIENTATION, 1) == 1
    expected = upright.resize((upright.width * 2, upright.height * 2), Image.Resampling.LANCZOS)
    assert difference(result.convert("RGB"), expected) < 6
    assert difference(result.convert("RGB"), ImageOps.mirror(expected)) > 6
