"""The quality that a JPEG was written with, from its tables."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image

from handlers.imaging.jpeg_quality import jpeg_quality


@pytest.mark.parametrize("quality", [25, 40, 60, 75, 85, 90, 95, 98])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": b"Exif\0\0" + bytes(300)}])
def test_quality_is_the_one_that_it_was_written_with(
    quality: int, options: dict[str, object], scene: Image.Image, encode: Callable[..., bytes]
) -> None:
    for picture in (scene, scene.convert("L"), scene.convert("CMYK")):
        assert jpeg_quality(encode(picture, "JPEG", quality=quality, **options)) == quality


def test_lowest_and_highest_are_in_order(scene: Image.Image, encode: Callable[..., bytes]) -> None:
    found = [jpeg_quality(encode(scene, "JPEG", quality=quality)) for quality in (1, 10, 50, 99, 100)]
    assert found == sorted(found, key=lambda one: one or 0)
    assert found[-1] in (99, 100)


def test_table_of_sixteen_bits(scene: Image.Image) -> None:
    table = b"".join((300).to_bytes(2, "big") for _ in range(64))
    segment = b"\x10" + table
    assert jpeg_quality(b"\xff\xd8\xff\xdb" + (2 + len(segment)).to_bytes(2, "big") + segment + b"\xff\xd9") == 10


@pytest.mark.parametrize("cut", [0, 2, 3, 4, 20, 40, 80])
def test_file_that_breaks_off_has_no_quality(cut: int, scene: Image.Image) -> None:
    buffer = io.BytesIO()
    scene.save(buffer, "JPEG", quality=75)
    assert jpeg_quality(buffer.getvalue()[:cut]) is None


def test_lengths_of_zero_do_not_hold_it_up() -> None:
    assert jpeg_quality(b"\xff\xd8" + b"\xff\xe0\x00\x00" * 50_000) is None
