"""What each format of input becomes: sizes, format of the result, alpha, profile, first frame, and the right pixels."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageChops, ImageCms, ImageOps

from handlers.contract import Facts

Encode = Callable[..., bytes]
Upscale = Callable[..., tuple[Facts, Image.Image]]
Difference = Callable[[Image.Image, Image.Image], float]

# Format of the input -> format of the result.
WITHOUT_ALPHA = {
    "JPEG": "JPEG",
    "PNG": "PNG",
    "WEBP": "WEBP",
    "GIF": "JPEG",
    "TIFF": "JPEG",
    "AVIF": "JPEG",
    "HEIC": "JPEG",
    "BMP": "JPEG",
}
WITH_ALPHA = {"PNG": "PNG", "WEBP": "WEBP", "GIF": "PNG", "TIFF": "PNG", "AVIF": "PNG", "HEIC": "PNG"}
NAMES = {
    "JPEG": ("upscaled.jpg", "image/jpeg"),
    "PNG": ("upscaled.png", "image/png"),
    "WEBP": ("upscaled.webp", "image/webp"),
}
METHODS = {"lanczos3": {"model_type": "classic"}, "learned": {}}
"""What the result says -> what was asked for."""
LOSSY = {"WEBP", "AVIF", "HEIC"}
"""And JPEG, but of these tests' quality it counts as clean."""
CLOSE = 6.0
"""Mean difference that lossy coding of a small, busy picture may leave; a wrong channel order or side leaves more."""


def enlarged(image: Image.Image, factor: int = 2) -> Image.Image:
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)


def with_hole(scene: Image.Image) -> Image.Image:
    """The left half invisible, hiding a loud green."""
    picture = scene.convert("RGBA")
    picture.paste((0, 255, 0, 0), (0, 0, scene.width // 2, scene.height))
    return picture


def test_a_wrong_side_or_channel_order_is_not_close(scene: Image.Image, difference: Difference) -> None:
    red, green, blue = scene.split()
    wrongs = [
        ImageOps.mirror(scene),
        ImageOps.flip(scene),
        scene.rotate(180),
        Image.merge("RGB", (blue, green, red)),
        ImageChops.invert(scene),
        ImageChops.offset(scene, 2),
    ]
    assert all(difference(scene, wrong) > CLOSE for wrong in wrongs)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("format", "expected"), WITHOUT_ALPHA.items())
def test_format_comes_back_in_its_family(
    format: str,
    expected: str,
    method: str,
    scene: Image.Image,
    encode: Encode,
    upscale: Upscale,
    difference: Difference,
) -> None:
    facts, result = upscale(encode(scene, format), **METHODS[method])
    if method == "learned":
        assert facts.pop("_model").split(" ")[0] == ("robust_2x" if format in LOSSY else "clean_2x")
    output = facts.pop("_upscaled_image_url")
    assert facts == {
        "_width": 60,
        "_height": 40,
        "_upscaled_width": 120,
        "_upscaled_height": 80,
        "_method": method,
    }
    assert (output.name, output.media_type) == NAMES[expected]
    assert (result.format, result.mode) == (expected, "RGB")
    assert difference(result, enlarged(scene)) < CLOSE


@pytest.mark.parametrize(("method", "near"), [("lanczos3", 1), ("learned", CLOSE)])
@pytest.mark.parametrize(("endpoint", "factor"), [("upscale_2x", 2), ("upscale_4x", 4), ("upscale_8x", 8)])
def test_endpoint_sets_the_factor(
    endpoint: str,
    factor: int,
    method: str,
    near: float,
    scene: Image.Image,
    encode: Encode,
    upscale: Upscale,
    difference: Difference,
) -> None:
    _, result = upscale(encode(scene, "PNG"), endpoint, **METHODS[method])
    assert result.size == (60 * factor, 40 * factor)
    assert difference(result, enlarged(scene, factor)) < near


@pytest.mark.parametrize(("format", "expected"), WITH_ALPHA.items())
def test_alpha_is_kept(format: str, expected: str, scene: Image.Image, encode: Encode, upscale: Upscale) -> None:
    _, result = upscale(encode(with_hole(scene), format))
    assert (result.format, result.mode) == (expected, "RGBA")
    alpha = np.asarray(result)[..., 3]
    assert (alpha[:, :50] < 20).all()
    assert (alpha[:, 70:] > 235).all()


def test_bmp_alpha_is_kept(scene: Image.Image, upscale: Upscale) -> None:
    """Written by hand, because Pillow writes no BMP with alpha masks."""
    pixels = np.asarray(with_hole(scene))[::-1, :, [2, 1, 0, 3]].tobytes()
    size, planes_depth = scene.width.to_bytes(4, "little") + scene.height.to_bytes(4, "little"), b"\x01\0\x20\0"
    masks = bytes.fromhex("0000ff00 00ff0000 ff000000 000000ff")
    header = (108).to_bytes(4, "little") + size + planes_depth + b"\x03\0\0\0" + bytes(20) + masks + bytes(52)
    file = b"BM" + (122 + len(pixels)).to_bytes(4, "little") + bytes(4) + b"\x7a\0\0\0" + header + pixels
    _, result = upscale(file)
    assert (result.format, result.mode) == ("PNG", "RGBA")
    assert (np.asarray(result)[:, :50, 3] < 20).all()
    assert (np.asarray(result)[:, 70:, 3] > 235).all()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
def test_colour_profile_is_kept(format: str, scene: Image.Image, encode: Encode, upscale: Upscale) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    _, result = upscale(encode(scene, format, icc_profile=profile))
    assert result.info["icc_profile"] == profile


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_other_metadata_is_dropped(format: str, scene: Image.Image, encode: Encode, upscale: Upscale) -> None:
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif.get_ifd(0x8825)[1] = "N"
    file = encode(scene, format, exif=exif, **({"xmp": b"<x:xmpmeta>maker</x:xmpmeta>"} if format == "JPEG" else {}))
    assert b"maker" in file
    facts, result = upscale(file)
    assert not result.getexif()
    assert b"maker" not in facts["_upscaled_image_url"].data


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_animation_gives_its_first_frame(
    format: str, scene: Image.Image, encode: Encode, upscale: Upscale, difference: Difference
) -> None:
    file = encode(scene, format, save_all=True, append_images=[ImageChops.invert(scene)], duration=100)
    with Image.open(io.BytesIO(file)) as animation:
        assert getattr(animation, "n_frames", 1) == 2
    _, result = upscale(file)
    assert difference(result.convert("RGB"), enlarged(scene)) < CLOSE


def test_tiff_of_several_pages_gives_its_first(
    scene: Image.Image, encode: Encode, upscale: Upscale, difference: Difference
) -> None:
    _, result = upscale(encode(scene, "TIFF", save_all=True, append_images=[Image.new("RGB", (300, 200))]))
    assert difference(result, enlarged(scene)) < CLOSE


def test_progressive_jpeg(scene: Image.Image, encode: Encode, upscale: Upscale, difference: Difference) -> None:
    _, result = upscale(encode(scene, "JPEG", progressive=True))
    assert difference(result, enlarged(scene)) < CLOSE


def test_grey_stays_grey(scene: Image.Image, encode: Encode, upscale: Upscale, difference: Difference) -> None:
    for format in ("JPEG", "PNG", "BMP"):
        _, result = upscale(encode(scene.convert("L"), format))
        assert difference(result, enlarged(scene.convert("L"))) < CLOSE


def test_one_bit_png_gets_grey_between_black_and_white(scene: Image.Image, encode: Encode, upscale: Upscale) -> None:
    _, result = upscale(encode(scene.convert("1"), "PNG"))
    assert result.mode == "L"
    assert len(np.unique(np.asarray(result))) > 16


def test_palette_png_with_transparency(
    scene: Image.Image, encode: Encode, upscale: Upscale, difference: Difference
) -> None:
    file = encode(with_hole(scene).quantize(256, Image.Quantize.FASTOCTREE), "PNG")
    with Image.open(io.BytesIO(file)) as palette:
        assert palette.mode == "P"
        assert "transparency" in palette.info
    _, result = upscale(file)
    assert (result.format, result.mode) == ("PNG", "RGBA")
    assert (np.asarray(result)[:, :50, 3] < 20).all()
    right = (64, 0, 120, 80)
    assert difference(result.convert("RGB").crop(right), enlarged(scene).crop(right)) < CLOSE


def test_sixteen_bit_png_keeps_its_depth(config: object, upscale: Upscale) -> None:
    ramp = pyvips.Image.xyz(40, 30)[0].linear(1600, 7).cast("ushort")
    picture = ramp.bandjoin([ramp, ramp]).copy(interpretation="rgb16")
    facts, _ = upscale(picture.pngsave_buffer())
    result = pyvips.Image.pngload_buffer(facts["_upscaled_image_url"].data)
    assert (result.format, result.bands) == ("ushort", 3)
    # Column 41's centre lies a quarter right of the source's column 20; Lanczos bends a ramp by a few per cent a step.
    assert result(41, 30)[0] == pytest.approx(1600 * 20.25 + 7, abs=50)
    assert (result.numpy() % 257 != 0).mean() > 0.9, "no more than the 256 levels of 8 bits"


def test_sixteen_bit_tiff_becomes_an_eight_bit_jpeg(
    scene: Image.Image, upscale: Upscale, difference: Difference
) -> None:
    picture = pyvips.Image.new_from_array(np.asarray(scene)).colourspace("rgb16")
    _, result = upscale(picture.tiffsave_buffer())
    assert (result.format, result.mode) == ("JPEG", "RGB")
    assert difference(result, enlarged(scene)) < CLOSE


def test_cmyk_jpeg_stays_cmyk(scene: Image.Image, encode: Encode, upscale: Upscale, difference: Difference) -> None:
    cmyk = scene.convert("CMYK")
    _, result = upscale(encode(cmyk, "JPEG"))
    assert (result.format, result.mode) == ("JPEG", "CMYK")
    assert difference(result, enlarged(cmyk)) < CLOSE


def test_cmyk_tiff_of_sixteen_bits_becomes_a_cmyk_jpeg(
    scene: Image.Image, upscale: Upscale, difference: Difference
) -> None:
    cmyk = scene.convert("CMYK")
    deep = (pyvips.Image.new_from_array(np.asarray(cmyk)).cast("ushort") * 257).cast("ushort")
    _, result = upscale(deep.copy(interpretation="cmyk").tiffsave_buffer())
    assert (result.format, result.mode) == ("JPEG", "CMYK")
    assert difference(result, enlarged(cmyk)) < CLOSE


def test_cmyk_tiff_with_alpha_becomes_a_png_in_rgb(
    scene: Image.Image, upscale: Upscale, difference: Difference
) -> None:
    rgb = pyvips.Image.new_from_array(np.asarray(scene)).copy(interpretation="srgb")
    cmyk = rgb.icc_transform("cmyk", input_profile="srgb")
    alpha = (pyvips.Image.black(60, 40) + 255).cast("uchar")
    _, result = upscale(cmyk.bandjoin(alpha).copy(interpretation="cmyk").tiffsave_buffer())
    assert (result.format, result.mode) == ("PNG", "RGBA")
    assert b"CMYK" not in result.info["icc_profile"][:40]
    # The press cannot print every colour of the scene, so the way there and back is coarser than coding.
    assert difference(result.convert("RGB"), enlarged(scene)) < 3 * CLOSE


def test_lab_tiff_becomes_rgb(scene: Image.Image, upscale: Upscale, difference: Difference) -> None:
    lab = pyvips.Image.new_from_array(np.asarray(scene)).copy(interpretation="srgb").colourspace("lab")
    _, result = upscale(lab.tiffsave_buffer())
    assert difference(result, enlarged(scene)) < CLOSE


@pytest.mark.parametrize("endpoint", ["upscale_2x", "upscale_8x"])
@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (2, 3)])
def test_tiny_and_thin_pictures(size: tuple[int, int], endpoint: str, encode: Encode, upscale: Upscale) -> None:
    for format in ("PNG", "JPEG"):
        _, result = upscale(encode(Image.new("RGB", size, (200, 100, 50)), format), endpoint)
        assert np.abs(np.asarray(result).astype(int) - (200, 100, 50)).max() <= 3


def test_webp_that_was_lossless_stays_lossless(
    scene: Image.Image, encode: Encode, upscale: Upscale, difference: Difference
) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile += bytes(1 - len(profile) % 2)  # of odd length, so that a padding byte follows it in the file
    _, exact = upscale(encode(scene, "PNG"))
    for options in ({}, {"icc_profile": profile}, {"save_all": True, "append_images": [ImageChops.invert(scene)]}):
        facts, result = upscale(encode(scene, "WEBP", lossless=True, **options))
        assert b"VP8L" in facts["_upscaled_image_url"].data
        assert difference(result, exact) == 0


def test_webp_that_was_lossy_stays_lossy(scene: Image.Image, encode: Encode, upscale: Upscale) -> None:
    animated = {"save_all": True, "append_images": [with_hole(ImageChops.invert(scene))]}
    for picture, options in ((scene, {}), (with_hole(scene), {}), (with_hole(scene), animated)):
        facts, _ = upscale(encode(picture, "WEBP", quality=80, **options))
        assert b"VP8 " in facts["_upscaled_image_url"].data
