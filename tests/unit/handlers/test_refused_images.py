"""Files that are not worked on: each one's code and the words for the customer, before any pixel is decoded."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pyvips
from PIL import Image

from handlers import imaging
from handlers.contract import Config, Facts, RecordError
from handlers.imaging.guard import readable

Encode = Callable[..., bytes]
Upscale = Callable[..., tuple[Facts, Image.Image]]

FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "HEIC", "BMP"]
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><rect width="10" height="10"/></svg>'
UNSUPPORTED = {
    "svg": SVG,
    "svg with a declaration": b'<?xml version="1.0"?>\n' + SVG,
    "compressed svg": b"\x1f\x8b\x08" + SVG,
    "pdf": b"%PDF-1.7\n1 0 obj\n<</Type/Catalog>>\nendobj\n",
    "text": b"Not found",
    "html": b"<!doctype html><title>404</title>",
    "json": b'{"detail": "Not found."}',
    "csv": b"1,2,3\n4,5,6\n",
    "vips": bytes.fromhex("b6a6f208") + bytes(100),
    "matlab": b"MATLAB 5.0 MAT-file" + bytes(200),
    "video": b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom",
    "one byte": b"\xff",
    "riff that is not webp": b"RIFF\x10\x00\x00\x00WAVEfmt ",
    "ftyp cut short": b"\x00\x00\x00\x18ftyp",
}


def refusal(upscale: Upscale, file: bytes, endpoint: str = "upscale_2x") -> tuple[int, str]:
    with pytest.raises(RecordError) as refused:
        upscale(file, endpoint)
    return refused.value.code, refused.value.text


def png(width: int, height: int) -> bytes:
    """A PNG of that size in its header and with next to no pixels in its data."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(50))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported_format(name: str, upscale: Upscale) -> None:
    code, text = refusal(upscale, UNSUPPORTED[name])
    assert code == 415
    assert text == "not an image of a supported format: send one of JPEG, PNG, WebP, GIF, TIFF, AVIF, HEIC, BMP"


@pytest.mark.parametrize("format", ["PPM", "ICO", "TGA", "PCX", "JPEG2000", "SGI", "DDS", "EPS", "PDF"])
def test_other_formats_that_pillow_knows(format: str, scene: Image.Image, encode: Encode, upscale: Upscale) -> None:
    assert refusal(upscale, encode(scene, format))[0] == 415


def test_libvips_itself_refuses_other_loaders(config: Config, tmp_path: Path, encode: Encode) -> None:
    """The second line of defence: whatever code in this process asks libvips, it opens only the six formats."""
    (tmp_path / "x.svg").write_bytes(SVG)
    (tmp_path / "x.csv").write_bytes(b"1,2,3\n")
    (tmp_path / "x.raw").write_bytes(bytes(100))
    loads: list[Callable[[], pyvips.Image]] = [
        lambda: pyvips.Image.svgload_buffer(SVG),
        lambda: pyvips.Image.new_from_buffer(SVG, ""),
        lambda: pyvips.Image.new_from_file(str(tmp_path / "x.svg")),
        lambda: pyvips.Image.csvload(str(tmp_path / "x.csv")),
        lambda: pyvips.Image.matrixload(str(tmp_path / "x.csv")),
        lambda: pyvips.Image.rawload(str(tmp_path / "x.raw"), 10, 10, 1),
        lambda: pyvips.Image.vipsload(str(tmp_path / "x.raw")),
    ]
    for load in loads:
        with pytest.raises(pyvips.Error, match=r"blocked|not in a known format|not a known file format"):
            load()
    assert pyvips.Image.new_from_buffer(encode(Image.new("RGB", (3, 2)), "PNG"), "").width == 3


def test_memory_that_runs_out_is_not_the_customers_fault() -> None:
    with pytest.raises(MemoryError), readable():
        raise pyvips.Error("unable to call copy_memory\nvips_tracked: out of memory --- size == 400MB")


def test_empty_file(upscale: Upscale) -> None:
    assert refusal(upscale, b"") == (400, "the image is empty")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kept", [0.98, 0.5, 0.05])
def test_truncated_file(kept: float, format: str, photographs: Path, encode: Encode, upscale: Upscale) -> None:
    with Image.open(photographs / "chelsea-face.webp") as photograph:
        whole = encode(photograph.convert("RGB"), format)
    assert refusal(upscale, whole[: int(len(whole) * kept)]) == (400, "the image is damaged or incomplete")


@pytest.mark.parametrize("format", FORMATS)
def test_signature_with_garbage_behind_it(format: str, scene: Image.Image, encode: Encode, upscale: Upscale) -> None:
    file = encode(scene, format)
    assert refusal(upscale, file[:32] + b"garbage " * 400) == (400, "the image is damaged or incomplete")


def test_corrupt_png_data(scene: Image.Image, encode: Encode, upscale: Upscale) -> None:
    file = bytearray(encode(scene, "PNG"))
    file[len(file) // 2] ^= 0xFF
    assert refusal(upscale, bytes(file)) == (400, "the image is damaged or incomplete")


@pytest.mark.parametrize(
    ("bands", "samples", "interpretation"),
    [(3, "float", "scrgb"), (1, "float", "b-w"), (1, "uint", "b-w"), (9, "uchar", "multiband")],
)
def test_colour_model_that_is_not_supported(bands: int, samples: str, interpretation: str, upscale: Upscale) -> None:
    picture = pyvips.Image.black(4, 4, bands=bands).cast(samples).copy(interpretation=interpretation)
    code, text = refusal(upscale, picture.tiffsave_buffer())
    assert (code, text.split(":")[0]) == (415, "the image's colour model is not supported")


def test_too_many_bytes(scene: Image.Image, encode: Encode, config: Config) -> None:
    file = encode(scene, "PNG")
    imaging.read_header(file, replace(config, max_image_bytes=len(file)))
    with pytest.raises(RecordError) as refused:
        imaging.read_header(file, replace(config, max_image_bytes=len(file) - 1))
    assert refused.value.code == 413
    assert f"{len(file):,} bytes" in refused.value.text
    assert f"{len(file) - 1:,} bytes" in refused.value.text


@pytest.mark.parametrize("format", FORMATS)
def test_too_many_pixels(format: str, scene: Image.Image, encode: Encode, config: Config) -> None:
    file = encode(scene, format)
    imaging.read_header(file, replace(config, max_image_pixels=2400))
    with pytest.raises(RecordError) as refused:
        imaging.read_header(file, replace(config, max_image_pixels=2399))
    assert refused.value.code == 413
    assert refused.value.text == "the image of 60 x 40 pixels is over the limit of 2,399 pixels"


def test_pixel_bomb_is_refused_before_it_is_decoded(upscale: Upscale) -> None:
    """Its data is cut short: a decoder that had looked at it would have called it damaged."""
    code, text = refusal(upscale, png(50_000, 50_000))
    assert (code, text) == (413, "the image of 50000 x 50000 pixels is over the limit of 4,000,000 pixels")
    assert refusal(upscale, png(500, 500))[0] == 400


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_bmp_bomb_is_refused_without_pillows_own_warning(
    side: int, scene: Image.Image, encode: Encode, config: Config
) -> None:
    """Pillow warns from 90 million pixels on and raises from 180 million on; neither is our cap."""
    file = bytearray(encode(scene, "BMP"))
    file[18:26] = side.to_bytes(4, "little") * 2
    with pytest.raises(RecordError, match=f"{side} x {side}"):
        imaging.read_header(bytes(file), config)
    source = imaging.read_header(bytes(file), replace(config, max_image_pixels=10**9))
    assert (source.width, source.height) == (side, side)


def test_result_over_the_pixel_cap_is_refused_before_a_pixel_is_decoded(upscale: Upscale) -> None:
    """As above: whoever had looked at the data would have called it damaged."""
    code, text = refusal(upscale, png(1000, 600), "upscale_8x")
    assert code == 413
    assert text == ("the result of 8000 x 4800 pixels, made from 1000 x 600, is over the limit of 32,000,000 pixels")
    assert refusal(upscale, png(1000, 600), "upscale_4x")[0] == 400


@pytest.mark.parametrize(("format", "longest", "shown"), [("WEBP", 8191, "16,383"), ("JPEG", 32_750, "65,500")])
def test_result_longer_than_its_format_holds(
    format: str, longest: int, shown: str, encode: Encode, upscale: Upscale
) -> None:
    _, result = upscale(encode(Image.new("RGB", (1, longest)), format))
    assert result.size == (2, 2 * longest)
    code, text = refusal(upscale, encode(Image.new("RGB", (longest + 1, 1)), format))
    assert code == 413
    assert f"{2 * longest + 2} x 2 pixels, made from {longest + 1} x 1" in text
    assert f"holds {shown} pixels a side" in text


def test_png_has_no_longest_side(encode: Encode, upscale: Upscale) -> None:
    _, result = upscale(encode(Image.new("L", (40_000, 1)), "PNG"))
    assert result.size == (80_000, 2)
